"""Runs the corpus of `python -m tests.benchmarks.peers` against this app: every hostile answer is refused."""

from __future__ import annotations

import time
import tracemalloc

import pytest

from ontraport_connect.exceptions import OntraportError
from tests.benchmarks.clients.this_app import exchange
from tests.benchmarks.hostile_answers import CORPUS, HostileAnswer, Verdict, secret_left_for_elsewhere
from tests.support.hostile_server import HostileServer
from tests.support.servers import PROJECT

SHORT = (0.3, 0.4)
LONG = (3.0, 3.0)
MOST = 8 * 2**20


def outcome_of(server: HostileServer, hostile: HostileAnswer, timeout: tuple[float, float]) -> str | OntraportError:
    """Return the token, or the typed error. Other errors, and too much time or memory, fail the test."""
    server.behaviour = hostile.behaviour
    server.requests.clear()
    tracemalloc.start()
    started = time.monotonic()
    try:
        return exchange(f"{server.url}/token", timeout)
    except OntraportError as error:
        return error
    finally:
        seconds, (_, peak) = time.monotonic() - started, tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert seconds < sum(timeout) + 0.5
        assert peak < MOST


def those(verdict: Verdict) -> pytest.MarkDecorator:
    chosen = [hostile for hostile in CORPUS if hostile.verdict == verdict]
    return pytest.mark.parametrize("hostile", chosen, ids=lambda hostile: hostile.name)


@those(Verdict.REFUSE)
def test_what_a_client_should_refuse_is_refused_with_one_typed_error(
    server: HostileServer, hostile: HostileAnswer
) -> None:
    assert isinstance(outcome_of(server, hostile, SHORT), OntraportError)
    assert len(server.requests) == 1
    assert not secret_left_for_elsewhere(server)


@those(Verdict.EITHER)
def test_an_oddity_is_taken_or_refused_and_nothing_else(server: HostileServer, hostile: HostileAnswer) -> None:
    outcome = outcome_of(server, hostile, LONG)
    assert outcome == "access" or isinstance(outcome, OntraportError)


@those(Verdict.ACCEPT)
def test_what_is_right_is_taken_however_unusual(server: HostileServer, hostile: HostileAnswer) -> None:
    assert outcome_of(server, hostile, LONG) == "access"


def test_the_corpus_is_as_large_as_the_documentation_says() -> None:
    page = " ".join((PROJECT / "docs" / "security.md").read_text().split())
    refuse, either, accept = (sum(hostile.verdict == verdict for hostile in CORPUS) for verdict in Verdict)
    assert len({hostile.name for hostile in CORPUS}) == len(CORPUS)
    assert f"{refuse} hostile answers, {either} oddities and {accept} right answers" in page
