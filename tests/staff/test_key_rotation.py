"""Key rotation while the site runs: interruptions lose nothing."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import override_settings

from ontraport_connect.encryption import Sealed
from ontraport_connect.exceptions import OntraportMisconfigured
from ontraport_connect.models import OntraportAccount, OntraportRevocation
from ontraport_connect.staff import key_rotation
from tests.refreshing.test_takeover import ROW, locked
from tests.support.servers import PROJECT

OLD, NEW = "an-old-key-of-at-least-32-characters", "a-new-key-of-at-least-32-characters!"
ROTATING = override_settings(ONTRAPORT_ENCRYPTION_KEYS=[NEW, OLD])
ROTATED = override_settings(ONTRAPORT_ENCRYPTION_KEYS=[NEW])

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def old_key() -> Iterator[None]:
    with override_settings(ONTRAPORT_ENCRYPTION_KEYS=[OLD]):
        yield


def make_accounts(count: int) -> None:
    user = get_user_model().objects.create(username="maya")
    OntraportAccount.objects.bulk_create(
        [
            OntraportAccount(user=user, label=str(n), access_token=f"access-{n}", refresh_token=f"refresh-{n}")
            for n in range(count)
        ]
    )


def tokens() -> list[tuple[str, str, str]]:
    return [
        (account.label, account.access_token.reveal(), account.refresh_token.reveal())
        for account in OntraportAccount.objects.order_by("pk")
    ]


def expected(count: int) -> list[tuple[str, str, str]]:
    return [(str(n), f"access-{n}", f"refresh-{n}") for n in range(count)]


def rotate() -> key_rotation.Summary:
    return key_rotation.rotate_keys(lambda seen: None)


def test_rotated_rows_need_the_old_key_no_more() -> None:
    make_accounts(3)
    OntraportAccount.objects.filter(label="1").update(app_id=None)
    revocation = OntraportRevocation.objects.create(
        account_uid=OntraportAccount.objects.all()[0].uid, refresh_token="let-go"
    )
    with ROTATING:
        assert (key_rotation.count_stored_rows(), rotate().rewritten) == (4, 4)
        assert (rotate().rewritten, rotate().current) == (0, 4)
    with ROTATED:
        assert tokens() == expected(3)
        revocation.refresh_from_db()
        assert revocation.refresh_token.reveal() == "let-go"


def test_refresh_between_reading_and_writing_keeps_its_new_tokens() -> None:
    make_accounts(1)
    with ROTATING:
        ((row,),) = key_rotation.pages(OntraportAccount)
        account = OntraportAccount.objects.get()
        account.refresh_token = "refreshed-in-between"
        account.save()
        assert not key_rotation.rewrite(row)
        account.refresh_from_db()
        assert account.refresh_token.reveal() == "refreshed-in-between"


def test_refresh_in_flight_saves_after_its_row_was_rotated() -> None:
    make_accounts(1)
    before = OntraportAccount.objects.get()
    with ROTATING:
        rotate()
    assert OntraportAccount.objects.get().version == before.version


class Interference:
    """Refreshes every account with the old key just before a statement writes to it, ``times`` times."""

    def __init__(self, times: int) -> None:
        self.times = times

    def __call__(self, execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if sql.startswith("UPDATE") and self.times:
            self.times, times = 0, self.times
            with override_settings(ONTRAPORT_ENCRYPTION_KEYS=[OLD]):
                for account in OntraportAccount.objects.all():
                    account.refresh_token = f"refreshed-{times}"
                    account.save()
            self.times = times - 1
        return execute(sql, params, many, context)


def test_row_changed_while_its_page_is_written_is_read_again() -> None:
    make_accounts(1)
    with ROTATING, connection.execute_wrapper(Interference(times=1)):
        assert rotate() == key_rotation.Summary(rewritten=1)
    with ROTATED:
        assert OntraportAccount.objects.get().refresh_token.reveal() == "refreshed-1"


def test_row_that_keeps_changing_is_left_to_the_next_run() -> None:
    make_accounts(1)
    with (
        ROTATING,
        connection.execute_wrapper(Interference(times=key_rotation.MAX_PASSES)),
        pytest.raises(CommandError, match="Run this again, and keep all keys until then"),
    ):
        call_command("ontraport", "rotate-keys")
    with ROTATING:
        assert rotate().rewritten == 1


def test_unreadable_secret_is_named_and_left_as_it_is() -> None:
    make_accounts(2)
    broken = OntraportAccount.objects.order_by("pk")[0]
    OntraportAccount.objects.filter(pk=broken.pk).update(access_token=Sealed(b"\x01damaged-beyond-repair"))
    with ROTATING:
        with pytest.raises(CommandError, match="Put their key back into the settings"):
            call_command("ontraport", "rotate-keys")
        summary = rotate()
    assert (summary.rewritten, summary.unreadable) == (0, [(broken.uid, "access_token")])
    kept = OntraportAccount.objects.get(pk=broken.pk)
    assert kept.__dict__["access_token"] == b"\x01damaged-beyond-repair"
    assert kept.refresh_token.reveal() == "refresh-0"


def test_command_says_what_is_left_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    make_accounts(1)
    with ROTATING:
        call_command("ontraport", "rotate-keys")
    done = "Older keys are no longer needed. Remove them from the settings in ten minutes, when pending attempts to link have ended."
    assert capsys.readouterr().out.splitlines() == ["1 row re-encrypted; 0 already up to date.", done]
    with ROTATING:
        call_command("ontraport", "rotate-keys")
    assert capsys.readouterr().out.splitlines() == ["0 rows re-encrypted; 1 already up to date."]


@pytest.mark.server_database
def test_a_row_that_somebody_holds_comes_last_and_is_left_to_the_next_run(capsys: pytest.CaptureFixture[str]) -> None:
    make_accounts(3)
    first = OntraportAccount.objects.earliest("pk")
    with ROTATING:
        with locked(ROW, first.pk):
            summary = rotate()
            assert (summary.rewritten, [row.pk for row in summary.held]) == (2, [first.pk])
            with pytest.raises(CommandError, match="Somebody else holds 1 row"):
                call_command("ontraport", "rotate-keys")
        assert capsys.readouterr().out.splitlines() == ["0 rows re-encrypted; 2 already up to date."]
        assert rotate().rewritten == 1
    with ROTATED:
        assert tokens() == expected(3)


@pytest.mark.server_database
def test_a_row_that_is_free_again_by_the_end_is_rewritten(monkeypatch: pytest.MonkeyPatch) -> None:
    make_accounts(3)
    first = OntraportAccount.objects.earliest("pk")
    with ROTATING, ExitStack() as held:
        held.enter_context(locked(ROW, first.pk))
        with monkeypatch.context() as impatient:
            impatient.setattr(key_rotation, "LONGEST_WAIT", -1)
            assert [row.pk for row in rotate().held] == [first.pk]
        summary = key_rotation.rotate_keys(lambda seen: held.close())
    assert (summary.rewritten, summary.held) == (1, [])


def test_unfit_newest_key_changes_nothing() -> None:
    make_accounts(1)
    with override_settings(ONTRAPORT_ENCRYPTION_KEYS=["short", OLD]), pytest.raises(OntraportMisconfigured):
        rotate()
    assert tokens() == expected(1)


KILLED_AGAIN_AND_AGAIN = """
import os, random, signal, sys
import django
django.setup()
from django.db import connections
from ontraport_connect.staff import key_rotation

def rotate_in_a_child(kill_after):
    connections.close_all()
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        key_rotation.rotate_keys(lambda seen: os.write(writing, b"."))
        os._exit(0)
    os.close(writing)
    while kill_after and os.read(reading, 1):
        kill_after -= 1
    os.kill(child, signal.SIGKILL)
    os.close(reading)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

print(sum(rotate_in_a_child(page) == -signal.SIGKILL for page in range(1, int(sys.argv[1]) + 1)))
"""


def test_two_thousand_rows_with_fifteen_kills_lose_nothing(child_environ: Callable[..., dict[str, str]]) -> None:
    """Each run is killed (SIGKILL) one page later than the run before."""
    count, kills = 2_000, 15
    make_accounts(count)
    environ = child_environ(ONTRAPORT_ENCRYPTION_KEYS=[NEW, OLD])
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", KILLED_AGAIN_AND_AGAIN, str(kills)],
        check=True,
        cwd=PROJECT,
        capture_output=True,
        text=True,
        env={name: value for name, value in environ.items() if not name.startswith("COVERAGE_")},
    )
    assert int(done.stdout) == kills
    with ROTATING:
        rotate()
    with ROTATED:
        assert tokens() == expected(count)
