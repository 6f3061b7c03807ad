"""Each fault of the network in each flow that talks to Ontraport: one typed error or one page, in time, and nothing lost that need not be.

The proxy stands before the real authorization server of the sandbox. What is right afterwards is asked of the sandbox: whether it has
served the request. If it has, and the answer to a refresh is lost, the link is the one that nobody can keep (docs/operations.md).
"""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.test import Client, override_settings
from django.urls import reverse
from django.utils import timezone

from ontraport_connect.exceptions import OntraportError, OntraportUnavailable, ReconnectRequired
from ontraport_connect.management.subcommands import register
from ontraport_connect.models import OntraportAccount, OntraportBudget, OntraportRevocation, Status
from ontraport_connect.refreshing import batches, client_settings, one_account, revoking
from ontraport_connect.signals import account_refreshed
from ontraport_connect.staff import diagnosis
from tests.support import ontraport
from tests.support.accounts import read
from tests.support.fault_proxy import Fault, FaultProxy, Kind
from tests.support.hostile_server import certificate, hostile_server
from tests.support.linked import KEYS, key_account, linked_account, person
from tests.support.servers import HOST, Sandbox, free_port

pytestmark = pytest.mark.django_db(transaction=True)

TIMEOUT = (0.1, 0.1)
"""While the fault lasts. A fault that is to outlast it lasts for longer, or for as long as anybody waits."""

PATIENT = (0.3, 0.3)
"""The same where something else has to work meanwhile."""

LONGEST = sum(PATIENT) + 5
"""Seconds for one faulty call on a slow machine: less than the quickest of our answers takes when it drips."""

BODY = b"\r\n\r\n"
LENGTH = b"Content-Length: "
LATE = 0.4

FAULTS = {
    "a black hole": Fault(kind=Kind.BLACK_HOLE, in_answer=False),
    "a reset at the first byte": Fault(kind=Kind.RESET, in_answer=False),
    "a reset in the request's head": Fault(kind=Kind.RESET, in_answer=False, after=30),
    "a reset in the request's body": Fault(kind=Kind.RESET, in_answer=False, behind=BODY, after=20),
    "a request that is cut short": Fault(kind=Kind.TRUNCATE, in_answer=False, after=60),
    "a request half-closed": Fault(kind=Kind.HALF_CLOSE, in_answer=False, after=10),
    "a request that drips": Fault(kind=Kind.DRIP, in_answer=False, seconds=0.05),
    "a request that is late": Fault(kind=Kind.LATENCY, in_answer=False, seconds=LATE),
    "a request with another method": Fault(kind=Kind.CORRUPT, in_answer=False),
    "a reset before the answer": Fault(kind=Kind.RESET, in_answer=True),
    "a reset in the answer's head": Fault(kind=Kind.RESET, in_answer=True, after=30),
    "a reset in the answer's body": Fault(kind=Kind.RESET, in_answer=True, behind=BODY, after=5),
    "an answer that is cut short": Fault(kind=Kind.TRUNCATE, in_answer=True, behind=BODY),
    "an answer half-closed": Fault(kind=Kind.HALF_CLOSE, in_answer=True, behind=BODY, after=1),
    "an answer that stops": Fault(kind=Kind.BLACK_HOLE, in_answer=True, behind=BODY, after=1),
    "an answer that drips": Fault(kind=Kind.DRIP, in_answer=True, seconds=0.05),
    "an answer that is late": Fault(kind=Kind.LATENCY, in_answer=True, seconds=LATE),
    "a status that is none": Fault(kind=Kind.CORRUPT, in_answer=True, after=9),
    "a length that is none": Fault(kind=Kind.CORRUPT, in_answer=True, behind=LENGTH),
    "a body that is no text": Fault(kind=Kind.CORRUPT, in_answer=True, behind=BODY, after=3, length=3),
}
ONE_OF_EACH_KIND = {
    name: FAULTS[name]
    for name in (
        "a black hole",
        "a reset in the request's head",
        "a request half-closed",
        "a reset before the answer",
        "an answer that is cut short",
        "an answer that drips",
        "an answer that is late",
        "a status that is none",
    )
}
SOME = FAULTS if os.environ.get("ALL_FAULTS") else ONE_OF_EACH_KIND
"""All of them meet the refresh and the exchange; what uses the same transport meets one of each kind, or all if the environment says so."""


@pytest.fixture(scope="module")
def proxy(sandbox_process: Sandbox) -> Iterator[FaultProxy]:
    with FaultProxy(sandbox_process.url) as proxy:
        yield proxy


@pytest.fixture(autouse=True)
def configured(sandbox: Sandbox, proxy: FaultProxy) -> Iterator[None]:
    """People reach the sandbox itself, and the app reaches it through the proxy."""
    direct, through = ontraport.settings_for(sandbox.url), ontraport.settings_for(proxy.url)
    people = {name: direct["ONTRAPORT_ENDPOINTS"][name] for name in ("issuer", "authorization_endpoint")}
    through["ONTRAPORT_ENDPOINTS"] |= people
    with override_settings(**{**through, "ONTRAPORT_RESOURCE": sandbox.url}):
        proxy.meet()
        yield
    proxy.meet()


@pytest.fixture
def maya() -> Any:
    return person("maya")


@pytest.fixture
def browser(client: Client, maya: Any) -> Client:
    client.force_login(maya)
    return client


@contextmanager
def meeting(proxy: FaultProxy, *faults: Fault | None, timeout: tuple[float, float] = TIMEOUT) -> Iterator[None]:
    """Let connections meet these faults, and require that what is done meanwhile is done in time."""
    proxy.meet(*faults)
    started = time.monotonic()
    with override_settings(ONTRAPORT_TIMEOUT=timeout):
        yield
    assert time.monotonic() - started < LONGEST
    proxy.settle()


def a_moment_ago() -> datetime:
    return timezone.now() - timedelta(seconds=1)


def error_of(step: Callable[[], object]) -> OntraportError | None:
    """Do it, and return the typed error; any other fails the test."""
    try:
        step()
    except OntraportError as error:
        return error
    return None


def spent(sandbox: Sandbox, username: str = "owner") -> int:
    """How often the latest grant of this person was refreshed at the sandbox."""
    return next(int(grant["refreshes"]) for grant in sandbox.state()["grants"] if grant["username"] == username)


def alive(sandbox: Sandbox) -> int:
    return sum(bool(grant["alive"]) for grant in sandbox.state()["grants"])


def secrets_of(account: OntraportAccount) -> tuple[str, str]:
    row = read(account)
    return row.access_token.reveal(), row.refresh_token.reveal()


def problem_page(browser: Client, response: Any) -> str:
    """Follow to the page that explains, which must have a way on, and return its code."""
    assert response.status_code == 302
    assert "/problem/" in response["Location"]
    page = browser.get(response["Location"])
    assert page.status_code == 200
    assert reverse("ontraport_connect:connect").encode() in page.content
    return str(response["Location"]).split("/problem/")[-1].strip("/")


@dataclass(frozen=True, kw_only=True)
class Before:
    """What an account and the sandbox held before the fault."""

    secrets: tuple[str, str]
    spent: int


def before(account: OntraportAccount, sandbox: Sandbox, username: str = "owner") -> Before:
    return Before(secrets=secrets_of(account), spent=spent(sandbox, username))


def assert_nothing_was_lost_in_vain(
    account: OntraportAccount, then: Before, sandbox: Sandbox, *, failed: bool, username: str = "owner"
) -> bool:
    """Require that the row has the old tokens or the current ones, and that the next refresh works unless the answer to a served request
    was lost. Returns whether it was.
    """
    row = read(account)
    is_served = spent(sandbox, username) > then.spent
    assert row.status == Status.CONNECTED
    assert row.lease_until is None
    assert (secrets_of(account) == then.secrets) is failed
    assert is_served or failed
    if is_served and failed:
        with pytest.raises(ReconnectRequired):
            one_account.refresh(row)
        assert read(account).status == Status.NEEDS_RECONNECT
        return True
    one_account.refresh(row)
    assert (row.failures, row.status) == (0, Status.CONNECTED)
    return False


def relink(browser: Client, account: OntraportAccount, username: str = "owner") -> None:
    button = browser.post(reverse("ontraport_connect:reconnect", args=[account.uid]))
    response = ontraport.come_back(browser, ontraport.consent(button["Location"], username=username))
    assert response["Location"] == reverse("ontraport_connect:accounts")


def test_a_refresh(proxy: FaultProxy, sandbox: Sandbox, browser: Client, maya: Any, subtests: pytest.Subtests) -> None:
    """One link through all of them."""
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
    """One connection of two is faulty: the account that it carries fails, the other does not."""
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


def test_the_exchange(proxy: FaultProxy, sandbox: Sandbox, browser: Client, subtests: pytest.Subtests) -> None:
    for name, fault in FAULTS.items():
        with subtests.test(name):
            OntraportBudget.objects.all().delete()  # one person exchanges fewer codes than this in ten minutes
            answer = ontraport.consent(ontraport.press_connect(browser))
            with meeting(proxy, fault):
                response = ontraport.come_back(browser, answer)
            assert problem_page(browser, response) == "unavailable"
            assert proxy.requests() <= 1
            assert not OntraportAccount.objects.exists()
            assert ontraport.link(browser, sandbox).status_code == 302
            account = OntraportAccount.objects.get()
            one_account.refresh(account)
            account.delete()


def test_the_identity_of_a_new_link(
    proxy: FaultProxy, sandbox: Sandbox, browser: Client, subtests: pytest.Subtests
) -> None:
    """A link whose account's name could not be read is a link."""
    for name, fault in ONE_OF_EACH_KIND.items():
        with subtests.test(name):
            answer = ontraport.consent(ontraport.press_connect(browser))
            with meeting(proxy, None, fault, timeout=PATIENT):
                response = ontraport.come_back(browser, answer)
            assert response["Location"] == reverse("ontraport_connect:accounts")
            account = OntraportAccount.objects.get()
            assert account.ontraport_id == ""
            one_account.refresh(account)
            account.delete()


def test_the_identity_of_a_reconnect(
    proxy: FaultProxy, sandbox: Sandbox, browser: Client, maya: Any, subtests: pytest.Subtests
) -> None:
    """Without it nobody knows whether it is the same account: the old link stays as it was, and works, though the new grant may be one
    with its own; both end with it.
    """
    account = linked_account(maya, sandbox)
    for name, fault in ONE_OF_EACH_KIND.items():
        with subtests.test(name):
            held = secrets_of(account)
            button = browser.post(reverse("ontraport_connect:reconnect", args=[account.uid]))
            answer = ontraport.consent(button["Location"])
            with meeting(proxy, None, fault, timeout=PATIENT):
                response = ontraport.come_back(browser, answer)
            assert problem_page(browser, response) == "unidentified"
            assert secrets_of(account) == held
            one_account.refresh(read(account))
    relink(browser, account)
    read(account).delete()
    assert revoking.deliver_revocations(10) == 1
    assert alive(sandbox) == 0


def test_a_disconnect(
    proxy: FaultProxy, sandbox: Sandbox, browser: Client, maya: Any, subtests: pytest.Subtests
) -> None:
    """It is done here at once, and told again until Ontraport has heard. The answer has no body to be faulty."""
    for name, fault in SOME.items():
        if fault.in_answer and fault.behind == BODY:
            continue
        with subtests.test(name):
            account = linked_account(maya, sandbox)
            with meeting(proxy, fault):
                response = browser.post(reverse("ontraport_connect:disconnect", args=[account.uid]))
            assert response["Location"] == reverse("ontraport_connect:accounts")
            assert proxy.requests(b"POST /oauth/revoke ") <= 1
            assert not OntraportAccount.objects.exists()
            assert OntraportRevocation.objects.count() == 1
            OntraportRevocation.objects.update(try_at=a_moment_ago())
            assert revoking.deliver_revocations(10) == 1
            assert (alive(sandbox), OntraportRevocation.objects.count()) == (0, 0)


def test_registration(proxy: FaultProxy, subtests: pytest.Subtests) -> None:
    options = {"again": True, "redirect_uri": None, "name": "", "public": False}

    def run() -> Any:
        return register.run(options, lambda text: None)

    for name, fault in SOME.items():
        with subtests.test(name):
            with meeting(proxy, fault):
                error = error_of(run)
            assert isinstance(error, OntraportUnavailable)
            assert proxy.requests(b"POST /oauth/register ") <= 1
            assert run().data["ONTRAPORT_CLIENT_ID"]


@pytest.mark.parametrize("subject", ["token endpoint", "metadata"])
def test_what_the_check_command_reads(
    proxy: FaultProxy, sandbox: Sandbox, subtests: pytest.Subtests, subject: str
) -> None:
    """It says what it found, and goes on to the next address."""
    endpoints = dict(sandbox.endpoints)
    if subject == "metadata":
        endpoints["issuer"] = proxy.url
    else:
        endpoints["token_endpoint"] = f"{proxy.url}/oauth/token"
    elsewhere = {"ONTRAPORT_MCP_URL": sandbox.url, "ONTRAPORT_REST_URL": f"{sandbox.url}/1/"}
    with override_settings(ONTRAPORT_ENDPOINTS=endpoints, **elsewhere):
        sound = [found.text for found in diagnosis.check_endpoints()]
        for name, fault in ONE_OF_EACH_KIND.items():
            with subtests.test(name), meeting(proxy, fault, timeout=PATIENT):
                found = [found.text for found in diagnosis.check_endpoints()]
                assert len(proxy.passages) == 1
                assert [text for text in found if subject not in text][:4] == [
                    text for text in sound if subject not in text
                ][:4]
        assert [found.text for found in diagnosis.check_endpoints()] == sound


def of_get() -> Iterator[tuple[str, Fault]]:
    """Yield what can become of a request without a body."""
    for name, fault in SOME.items():
        if fault.in_answer or fault.behind != BODY:
            yield name, fault


def test_a_call_of_the_rest_api(proxy: FaultProxy, maya: Any, subtests: pytest.Subtests) -> None:
    account = key_account(maya)

    def call() -> Any:
        return account.rest("GET", "objects", params={"objectID": 0})["data"]

    for name, fault in of_get():
        with subtests.test(name):
            with meeting(proxy, fault):
                error = error_of(call)
            assert error is not None
            assert proxy.requests(b"GET /1/") <= 1
            assert read(account).status == Status.CONNECTED
            assert call()


def test_a_call_of_an_mcp_tool(proxy: FaultProxy, maya: Any, subtests: pytest.Subtests) -> None:
    account = key_account(maya)
    for name, fault in SOME.items():
        with subtests.test(name):
            with meeting(proxy, fault):
                error = error_of(lambda: account.mcp("get_account_info"))
            assert error is not None
            assert proxy.requests(b"tools/call") <= 1
            assert read(account).status == Status.CONNECTED
            assert account.mcp("get_account_info")["account_id"] == 187157


def test_a_key_that_is_tried(proxy: FaultProxy, browser: Client, subtests: pytest.Subtests) -> None:
    form = {"app_id": KEYS["app_id"], "api_key": KEYS["access_token"]}
    for name, fault in of_get():
        with subtests.test(name):
            with meeting(proxy, fault):
                response = browser.post(reverse("ontraport_connect:connect_key"), form)
            assert response.status_code == 422
            assert b"try again" in response.content
            assert not OntraportAccount.objects.exists()
            assert browser.post(reverse("ontraport_connect:connect_key"), form).status_code == 302
            OntraportAccount.objects.get(ontraport_id="187157").delete()


OFFSETS = 12
"""Places in a request, and in an answer, at which the line is reset in turn: in the first line, the headers and the body."""


@pytest.mark.parametrize("in_answer", [False, True], ids=["request", "answer"])
def test_a_refresh_whose_line_is_reset_anywhere(
    in_answer: bool, proxy: FaultProxy, sandbox: Sandbox, browser: Client, maya: Any
) -> None:
    """An answer that is lost is the window that nobody can close, and nothing is sent again."""
    account = linked_account(maya, sandbox)
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


def two_due(sandbox: Sandbox, maya: Any) -> list[int]:
    pks = [linked_account(maya, sandbox, username=name).pk for name in ("owner", "agency")]
    OntraportAccount.objects.update(refresh_at=a_moment_ago())
    return pks


def test_a_failure_leaves_no_other_connection_open(proxy: FaultProxy) -> None:
    """Nor does it wait for garbage to be collected: the tracebacks of the HTTP stack hold its pools."""
    gc.disable()
    try:
        with client_settings.new_transport(pool_size=2) as transport, ThreadPoolExecutor(2) as threads:
            proxy.meet(Fault(kind=Kind.LATENCY, in_answer=True, seconds=1), Fault(kind=Kind.RESET, in_answer=True))
            first = threads.submit(transport.send, "GET", f"{proxy.url}/oauth/token")
            second = threads.submit(transport.send, "GET", f"{proxy.url}/oauth/token")
            assert {type(each.exception(10)) for each in (first, second)} == {type(None), OntraportUnavailable}
        proxy.settle()
    finally:
        gc.enable()


@override_settings(ONTRAPORT_REFRESH_CONCURRENCY=1)
def test_a_kept_connection_that_was_closed_meanwhile_is_made_anew(
    proxy: FaultProxy, sandbox: Sandbox, maya: Any
) -> None:
    pks = two_due(sandbox, maya)
    proxy.meet()

    def hang_up(**kwargs: Any) -> None:
        proxy.hang_up()

    account_refreshed.connect(hang_up)
    try:
        assert batches.refresh_batch(pks) == {"refreshed": 2}
    finally:
        account_refreshed.disconnect(hang_up)
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
    """Look for the token endpoint there."""
    endpoints = client_settings.endpoints()
    addresses = {name: getattr(endpoints, name) for name in ("issuer", "authorization_endpoint", "revocation_endpoint")}
    with override_settings(ONTRAPORT_ENDPOINTS={**addresses, "token_endpoint": token_endpoint}):
        yield
