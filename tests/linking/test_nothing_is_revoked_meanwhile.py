"""While a code is exchanged, no grant is revoked, and the other way round: the one may end the other (RFC 7009, 2.1)."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import timedelta
from threading import Event
from time import sleep
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import User
from django.db import connections
from django.test import override_settings
from django.utils import timezone

from ontraport_connect import linking, refreshing
from ontraport_connect.exceptions import LinkingFailed
from ontraport_connect.linking import attempts, grant_storage
from ontraport_connect.models import OntraportAccount, OntraportAttempt, OntraportRevocation, Status
from ontraport_connect.refreshing import revoking
from tests.refreshing.test_revoking import make, make_due, queue
from tests.refreshing.test_takeover import ROW, locked
from tests.support.hostile_server import HostileServer, answer, hostile_server

pytestmark = pytest.mark.django_db(transaction=True)

BACK = "http://127.0.0.1:8000/ontraport/callback/"
TOKENS = '{"access_token": "new", "refresh_token": "newer", "token_type": "Bearer", "expires_in": 3600}'

Hook = Callable[[], object]


class Ontraport:
    """``on_token`` and ``on_revoke`` are called when such a request has come, before it is answered."""

    def __init__(self, server: HostileServer) -> None:
        self.on_token: Hook = bool
        self.on_revoke: Hook = bool
        self.seen: list[str] = []
        self._server = server
        server.behaviour = self.behave
        server.requests.clear()

    def behave(self, server: HostileServer, connection: socket.socket) -> None:
        path = server.requests[-1].split()[1].decode()
        {"/token": self.on_token, "/revoke": self.on_revoke}[path]()
        self.seen.append(path)
        answer(TOKENS if path == "/token" else "", headers="Content-Type: application/json\r\n")(server, connection)


@pytest.fixture
def ontraport() -> Iterator[Ontraport]:
    with hostile_server() as server:
        endpoints = {
            "issuer": server.url,
            **{f"{name}_endpoint": f"{server.url}/{path}" for name, path in PATHS.items()},
        }
        with override_settings(
            ONTRAPORT_CLIENT_ID="id",
            ONTRAPORT_ENDPOINTS=endpoints,
            ONTRAPORT_MCP_URL="http://127.0.0.1:9/",
            ONTRAPORT_TIMEOUT=(1, 5),
        ):
            yield Ontraport(server)


PATHS = {"authorization": "authorize", "token": "token", "revocation": "revoke"}


@pytest.fixture
def maya() -> User:
    return get_user_model().objects.create_user("maya")


@pytest.fixture
def tomas() -> User:
    return get_user_model().objects.create_user("tomas")


def begun(user: User, account: OntraportAccount | None = None) -> str:
    """Return the ``state`` of a new attempt."""
    url = linking.begin("browser", linking.Owner(user=user, tenant=None), redirect_uri=BACK, account=account)
    return parse_qs(urlsplit(url).query)["state"][0]


def link(user: User, state: str, **parameters: str) -> OntraportAccount:
    values = {"state": state, "iss": refreshing.issuer(), **(parameters or {"code": "code"})}
    answered = {name: [value] for name, value in values.items()}
    account, _attempt = linking.complete("browser", linking.Owner(user=user, tenant=None), answered)
    return account


def elsewhere(work: Callable[[], Any]) -> Callable[[], Any]:
    """Return the work as it is done by another process: with a connection of its own."""

    def call() -> Any:
        try:
            return work()
        finally:
            connections.close_all()

    return call


def test_a_grant_that_is_to_end_waits_while_a_code_is_exchanged(ontraport: Ontraport, maya: User, tomas: User) -> None:
    queue(tomas)
    with ThreadPoolExecutor(1) as pool:
        deliver = elsewhere(lambda: revoking.deliver_revocations(10))
        ontraport.on_token = lambda: pool.submit(deliver).result(10)
        link(maya, begun(maya))
    assert ontraport.seen == ["/token"]
    waiting = OntraportRevocation.objects.get()
    assert (waiting.attempts, waiting.sent_at) == (0, None)
    assert waiting.try_at - timezone.now() < timedelta(seconds=5)
    make_due()
    assert revoking.deliver_revocations(10) == 1
    assert ontraport.seen == ["/token", "/revoke"]


def test_a_code_is_not_exchanged_before_a_revocation_is_answered(ontraport: Ontraport, maya: User, tomas: User) -> None:
    queue(tomas)
    state = begun(maya)
    linked: list[Future[Any]] = []
    with ThreadPoolExecutor(1) as pool:

        def let_somebody_link() -> None:
            linked.append(pool.submit(elsewhere(lambda: link(maya, state))))
            while not OntraportAttempt.objects.filter(used_at__isnull=False).exists():
                sleep(0.01)
            sleep(0.3)  # time enough for a request that does not wait

        ontraport.on_revoke = elsewhere(let_somebody_link)
        assert revoking.deliver_revocations(10) == 1
        linked[0].result(10)
    assert ontraport.seen == ["/revoke", "/token"]


def test_a_revocation_that_was_not_answered_in_time_may_be_done_late_and_is_waited_for(
    ontraport: Ontraport, maya: User, tomas: User
) -> None:
    queue(tomas)
    state = begun(maya)
    is_late = Event()
    ontraport.on_revoke = lambda: is_late.wait(10)
    with override_settings(ONTRAPORT_TIMEOUT=(1, 0.2)):
        assert revoking.deliver_revocations(10) == 0
    with ThreadPoolExecutor(1) as pool:
        linked = pool.submit(elsewhere(lambda: link(maya, state)))
        while not OntraportAttempt.objects.filter(used_at__isnull=False).exists():
            sleep(0.01)
        sleep(0.3)  # time enough for a link that does not wait
        is_late.set()
        while "/revoke" not in ontraport.seen:
            sleep(0.01)
        make_due()
        linked.result(10)
    assert ontraport.seen == ["/revoke", "/token"]


def test_a_revocation_whose_process_was_killed_is_not_waited_for_for_ever(
    ontraport: Ontraport, maya: User, tomas: User
) -> None:
    queue(tomas)
    OntraportRevocation.objects.update(sent_at=timezone.now() - timedelta(seconds=32))
    link(maya, begun(maya))
    assert ontraport.seen == ["/token"]


def test_an_attempt_whose_process_was_killed_holds_nothing_up_for_ever(
    ontraport: Ontraport, maya: User, tomas: User
) -> None:
    queue(tomas)
    begun(maya)
    OntraportAttempt.objects.update(used_at=timezone.now() - timedelta(minutes=1))
    assert revoking.deliver_revocations(10) == 0
    make_due()
    OntraportAttempt.objects.update(used_at=timezone.now() - timedelta(minutes=3))
    assert revoking.deliver_revocations(10) == 1


def test_an_attempt_that_came_too_late_holds_nothing_up(ontraport: Ontraport, maya: User, tomas: User) -> None:
    queue(tomas)
    state = begun(maya)
    OntraportAttempt.objects.update(started_at=timezone.now() - timedelta(minutes=11))
    with pytest.raises(LinkingFailed):
        link(maya, state)
    assert revoking.deliver_revocations(10) == 1


def test_an_answer_that_comes_twice_does_not_end_the_attempt_of_the_first(
    ontraport: Ontraport, maya: User, tomas: User
) -> None:
    queue(tomas)
    state = begun(maya)

    def come_again_and_deliver() -> int:
        with pytest.raises(LinkingFailed):
            link(maya, state)
        return revoking.deliver_revocations(10)

    with ThreadPoolExecutor(1) as pool:
        again = elsewhere(come_again_and_deliver)
        ontraport.on_token = lambda: pool.submit(again).result(10)
        link(maya, state)
    assert ontraport.seen == ["/token"]


@pytest.mark.parametrize("meanwhile", ["presses the button again and again", "signs out"])
def test_an_exchange_stays_known_whatever_its_person_does_meanwhile(
    ontraport: Ontraport, maya: User, tomas: User, meanwhile: str
) -> None:
    queue(tomas)

    def do_and_deliver() -> int:
        if meanwhile == "signs out":
            attempts.forget_attempts("browser", str(maya.pk))
        else:
            for _ in range(attempts.MAX_OF_BROWSER + 1):
                begun(maya)
        return revoking.deliver_revocations(10)

    with ThreadPoolExecutor(1) as pool:
        ontraport.on_token = lambda: pool.submit(elsewhere(do_and_deliver)).result(10)
        link(maya, begun(maya))
    assert ontraport.seen == ["/token"]


def test_who_comes_upon_a_revocation_that_is_on_its_way_leaves_it_alone(
    ontraport: Ontraport, maya: User, tomas: User
) -> None:
    """A page that disconnects sends it, and the task takes the same row, which is due still."""
    queue(tomas)
    state = begun(maya)
    linked: list[Future[Any]] = []
    with ThreadPoolExecutor(1) as pool:

        def meet() -> None:
            linked.append(pool.submit(elsewhere(lambda: link(maya, state))))
            while not OntraportAttempt.objects.filter(used_at__isnull=False).exists():
                sleep(0.01)
            assert revoking.deliver_revocations(10) == 0
            sleep(0.3)  # time enough for a link that does not wait any more

        ontraport.on_revoke = elsewhere(meet)
        assert revoking.deliver_revocations(10) == 1
        linked[0].result(10)
    assert ontraport.seen == ["/revoke", "/token"]


@pytest.mark.parametrize("parameters", [{"error": "access_denied"}, {"code": "code", "iss": "https://else"}])
def test_an_attempt_that_failed_holds_nothing_up(
    ontraport: Ontraport, maya: User, tomas: User, parameters: dict[str, str]
) -> None:
    queue(tomas)
    state = begun(maya)
    with pytest.raises(LinkingFailed):
        link(maya, state, **parameters)
    assert OntraportAttempt.objects.get().finished_at is not None
    assert revoking.deliver_revocations(10) == 1
    assert ontraport.seen == ["/revoke"]


def test_a_reconnect_that_is_refused_ends_no_grant_that_others_share(
    ontraport: Ontraport, maya: User, tomas: User
) -> None:
    """Ontraport does not tell whose the new grant is. Most likely it is for the same account as the link to reconnect."""
    make(tomas, ontraport_id="7")
    account = make(maya, ontraport_id="7", status=Status.NEEDS_RECONNECT)
    with pytest.raises(LinkingFailed, match="didn't say whose account"):
        link(maya, begun(maya, account))
    assert ontraport.seen == ["/token"]
    assert not OntraportRevocation.objects.exists()


@pytest.mark.server_database
def test_a_callback_waits_a_bounded_time_for_a_row_that_somebody_holds(
    ontraport: Ontraport, maya: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grant_storage, "PATIENCE", 1.5)
    account = OntraportAccount.objects.create(user=maya, access_token="old", status=Status.NEEDS_RECONNECT)
    url = linking.begin("browser", linking.Owner(user=maya, tenant=None), redirect_uri=BACK, account=account)
    (state,) = parse_qs(urlsplit(url).query)["state"]
    with locked(ROW, account.pk), pytest.raises(LinkingFailed) as raised:
        link(maya, state)
    assert raised.value.code == "twice"
    assert ontraport.seen == ["/token", "/revoke"]
    account.refresh_from_db()
    assert account.status == Status.NEEDS_RECONNECT
