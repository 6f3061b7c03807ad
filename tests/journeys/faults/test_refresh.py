"""Every network fault while a refresh token is spent."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from django.test import Client, override_settings

from ontraport_connect.exceptions import OntraportUnavailable
from ontraport_connect.models import OntraportAccount
from ontraport_connect.refreshing import batches, client_settings, one_account
from tests.support.accounts import read
from tests.support.fault_proxy import Fault, FaultProxy, Kind
from tests.support.faults import (
    FAULTS,
    ONE_OF_EACH_KIND,
    PATIENT,
    UNREADABLE_LENGTH,
    a_moment_ago,
    alive,
    assert_nothing_was_lost_in_vain,
    before,
    error_of,
    meeting,
    relink,
)
from tests.support.hostile_server import certificate, hostile_server
from tests.support.linked import linked_account
from tests.support.servers import HOST, Sandbox, free_port

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_refresh(proxy: FaultProxy, sandbox: Sandbox, browser: Client, maya: Any, subtests: pytest.Subtests) -> None:
    """One link goes through all of them."""
    account = linked_account(maya, sandbox)
    for name, fault in FAULTS.items():
        with subtests.test(name):
            account, then = read(account), before(account, sandbox)
            with meeting(proxy, fault):
                error = error_of(lambda account=account: one_account.refresh(account))  # type: ignore[misc]
            assert isinstance(error, OntraportUnavailable)
            assert proxy.requests() == 1
            if assert_nothing_was_lost_in_vain(account, then, sandbox, failed=True):
                relink(browser, account)
            assert alive(sandbox) == 1


def test_a_refresh_in_a_batch(
    proxy: FaultProxy, sandbox: Sandbox, browser: Client, maya: Any, subtests: pytest.Subtests
) -> None:
    """One of two connections is faulty: the account that it carries fails, the other does not."""
    accounts = {who: linked_account(maya, sandbox, username=who) for who in ("owner", "agency")}
    for name, fault in ONE_OF_EACH_KIND.items():
        with subtests.test(name):
            then = {who: before(account, sandbox, who) for who, account in accounts.items()}
            OntraportAccount.objects.update(refresh_at=a_moment_ago())
            concurrency = override_settings(ONTRAPORT_REFRESH_CONCURRENCY=2)
            with concurrency, meeting(proxy, fault, timeout=PATIENT):
                counts = batches.refresh_batch([account.pk for account in accounts.values()])
            failing = {who for who, account in accounts.items() if read(account).failures}
            assert (len(failing), counts.get("refreshed"), sum(counts.values()), proxy.requests()) == (1, 1, 2, 2)
            for who, account in accounts.items():
                if assert_nothing_was_lost_in_vain(account, then[who], sandbox, failed=who in failing, username=who):
                    relink(browser, account, who)


OFFSETS = 12
"""Number of places in a request, and in a response, where the connection is reset: in the first line, the headers and the body."""


@pytest.mark.parametrize("in_answer", [False, True], ids=["request", "answer"])
def test_a_refresh_whose_line_is_reset_anywhere(
    in_answer: bool, proxy: FaultProxy, sandbox: Sandbox, browser: Client, maya: Any
) -> None:
    """A lost response is the window that cannot be closed. Nothing is sent again."""
    account = linked_account(maya, sandbox)
    proxy.meet()
    one_account.refresh(account)
    length = len(proxy.passages[-1].answered if in_answer else proxy.passages[-1].sent)
    for after in range(0, length, length // OFFSETS):
        account, then = read(account), before(account, sandbox)
        proxy.meet(Fault(kind=Kind.RESET, in_answer=in_answer, after=after))
        error = error_of(lambda account=account: one_account.refresh(account))  # type: ignore[misc]
        assert isinstance(error, OntraportUnavailable)
        assert (error.code, read(account).failures, proxy.requests()) == ("cut", 1, 1)
        assert assert_nothing_was_lost_in_vain(account, then, sandbox, failed=True) is in_answer
        assert proxy.requests() == 2
        if in_answer:
            relink(browser, account)


def test_a_token_response_whose_end_cannot_be_told_is_taken(proxy: FaultProxy, sandbox: Sandbox, maya: Any) -> None:
    """It is all there: to refuse it would lose the link."""
    account = linked_account(maya, sandbox)
    then = before(account, sandbox)
    with meeting(proxy, UNREADABLE_LENGTH, timeout=(1, 1)):
        one_account.refresh(account)
    assert not assert_nothing_was_lost_in_vain(account, then, sandbox, failed=False)


def two_due(sandbox: Sandbox, maya: Any) -> list[int]:
    pks = [linked_account(maya, sandbox, username=name).pk for name in ("owner", "agency")]
    OntraportAccount.objects.update(refresh_at=a_moment_ago())
    return pks


def test_a_failure_leaves_no_other_connection_open(proxy: FaultProxy) -> None:
    """The connections close without waiting for garbage collection: tracebacks of the HTTP stack hold its pools."""
    gc.disable()
    try:
        with client_settings.new_transport() as transport, ThreadPoolExecutor(2) as threads:
            proxy.meet(Fault(kind=Kind.LATENCY, in_answer=True, seconds=1), Fault(kind=Kind.RESET, in_answer=True))
            first = threads.submit(transport.send, "GET", f"{proxy.url}/oauth/token")
            second = threads.submit(transport.send, "GET", f"{proxy.url}/oauth/token")
            assert {type(each.exception(10)) for each in (first, second)} == {type(None), OntraportUnavailable}
        proxy.settle()
    finally:
        gc.enable()


def test_a_kept_connection_that_was_closed_meanwhile_is_made_anew(
    proxy: FaultProxy, sandbox: Sandbox, maya: Any
) -> None:
    pks = two_due(sandbox, maya)
    proxy.meet()
    for pk in pks:
        assert batches.refresh_batch([pk]) == {"refreshed": 1}
        proxy.hang_up()
    assert (len(proxy.passages), proxy.requests(), alive(sandbox)) == (2, 2, 2)


@pytest.mark.parametrize("kind", [Kind.RESET, Kind.TRUNCATE])
@override_settings(ONTRAPORT_REFRESH_CONCURRENCY=1)
def test_a_kept_connection_that_is_closed_while_the_next_request_is_sent_costs_one_backoff_and_no_retry(
    kind: Kind, proxy: FaultProxy, sandbox: Sandbox, maya: Any
) -> None:
    """Nobody can tell from here whether that request was served."""
    pks = two_due(sandbox, maya)
    proxy.meet()
    one_account.refresh(OntraportAccount.objects.get(pk=pks[0]))
    OntraportAccount.objects.update(refresh_at=a_moment_ago())
    length = len(proxy.passages[-1].sent)
    proxy.meet(Fault(kind=kind, in_answer=False, after=length))
    assert batches.refresh_batch(pks) == {"refreshed": 1, "cut": 1}
    assert (len(proxy.passages), proxy.requests()) == (1, 2)
    proxy.settle()
    OntraportAccount.objects.update(refresh_at=a_moment_ago())
    assert batches.refresh_batch(pks) == {"refreshed": 2}
    assert alive(sandbox) == 2


HANDSHAKE = {
    "a certificate that nobody vouches for": (None, "tls"),
    "a reset at the first byte": (FAULTS["a reset at the first byte"], "cut"),
    "a reset in the client's hello": (Fault(kind=Kind.RESET, in_answer=False, after=50), "cut"),
    "a reset in the server's hello": (Fault(kind=Kind.RESET, in_answer=True, after=50), "cut"),
    "a server's hello that is cut short": (Fault(kind=Kind.TRUNCATE, in_answer=True, after=50), "tls"),
    "a server's hello that stops": (Fault(kind=Kind.BLACK_HOLE, in_answer=True, after=50), "timeout"),
    "a server's hello that drips": (Fault(kind=Kind.DRIP, in_answer=True, seconds=0.05), "timeout"),
    "a server's hello that is none": (Fault(kind=Kind.CORRUPT, in_answer=True, after=5), "tls"),
    "a black hole": (FAULTS["a black hole"], "timeout"),
}


@pytest.mark.parametrize(("fault", "code"), HANDSHAKE.values(), ids=HANDSHAKE)
def test_a_refresh_whose_tls_handshake_fails_sends_nothing(
    fault: Fault | None, code: str, sandbox: Sandbox, maya: Any, tmp_path: Path
) -> None:
    account = linked_account(maya, sandbox)
    then = before(account, sandbox)
    with hostile_server(context=certificate(tmp_path)) as server, FaultProxy(server.url) as secured:
        with at(f"https://{HOST}:{secured.port}/oauth/token"), meeting(secured, fault):
            error = error_of(lambda: one_account.refresh(account))
        assert (server.requests, len(secured.passages)) == ([], 1)
    assert isinstance(error, OntraportUnavailable)
    assert error.code == code
    assert not assert_nothing_was_lost_in_vain(account, then, sandbox, failed=True)


@pytest.mark.parametrize("address", ["https://no-such-host.invalid/token", f"http://{HOST}:{free_port()}/token"])
def test_a_refresh_that_reaches_no_server(address: str, sandbox: Sandbox, maya: Any) -> None:
    account = linked_account(maya, sandbox)
    then = before(account, sandbox)
    with at(address):
        error = error_of(lambda: one_account.refresh(account))
    assert isinstance(error, OntraportUnavailable)
    assert error.code == "connection"
    assert not assert_nothing_was_lost_in_vain(account, then, sandbox, failed=True)


@contextmanager
def at(token_endpoint: str) -> Iterator[None]:
    """Point the app at this token endpoint."""
    endpoints = client_settings.endpoints()
    addresses = {name: getattr(endpoints, name) for name in ("issuer", "authorization_endpoint", "revocation_endpoint")}
    with override_settings(ONTRAPORT_ENDPOINTS={**addresses, "token_endpoint": token_endpoint}):
        yield
