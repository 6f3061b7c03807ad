"""A process waits for a daemon thread that holds what exists nowhere else."""

from __future__ import annotations

import threading

from ontraport_connect.refreshing.process_end import process_stays


def waiting() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "ontraport-stay"]


def test_a_daemon_thread_keeps_the_process_until_it_is_done() -> None:
    seen: list[bool] = []

    def work() -> None:
        with process_stays():
            seen.extend(not thread.daemon for thread in waiting())

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join()
    for stays in waiting():
        stays.join(10)
    assert (seen, waiting()) == ([True], [])


def test_any_other_thread_keeps_it_anyway() -> None:
    with process_stays():
        assert waiting() == []
