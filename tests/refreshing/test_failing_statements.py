"""Each SQL statement of each flow fails in turn: nothing is lost, no grant lives that nobody knows, and the next try works.

The statements are not named here: a flow is run with its first statement failing, then with its second, until none is left to fail.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, urljoin, urlsplit

import pytest
import requests
from celery import Celery
from django.conf import settings
from django.contrib.auth import get_user_model
from django.db import Error as DatabaseFailure
from django.db import IntegrityError, InternalError, OperationalError, connections, transaction
from django.db.backends.signals import connection_created
from django.test import Client, override_settings
from django.urls import reverse
from django.utils import timezone

from ontraport_connect import tasks
from ontraport_connect.conf import conf
from ontraport_connect.exceptions import OntraportError
from ontraport_connect.models import (
    Method,
    OntraportAccount,
    OntraportBudget,
    OntraportEvent,
    OntraportRevocation,
    OntraportService,
    OntraportUsedState,
    Status,
)
from ontraport_connect.refreshing import batches, one_account, revoking
from ontraport_connect.staff import key_rotation
from tests.support.accounts import linked, read
from tests.support.answering import Answering, Asked, Reply, as_json, envelope
from tests.support.strict_server import TokenEndpoint

pytestmark = pytest.mark.django_db(transaction=True)

CONSTRAINED = tuple(f'INSERT INTO "ontraport_connect_ontraport{name}"' for name in ("account", "event"))
Raises = tuple[type[Exception], ...]
WRITES = ("INSERT", "UPDATE", "DELETE")
KEYS = ["a-key-of-the-tests-that-is-long-enough-1", "a-key-of-the-tests-that-is-long-enough-2"]


@dataclass(frozen=True, kw_only=True)
class Failure:
    """``is_done``: the statement was executed, and what is lost is the word of it. ``cuts``: the connection is lost with it. Without an
    ``error`` nobody is told, so that the next statement fails, or the commit.
    """

    error: Exception | None = None
    is_done: bool = False
    cuts: bool = False
    statements: tuple[str, ...] = ("",)


FAILURES = {
    "lost before it was executed": Failure(error=OperationalError("server closed the connection"), cuts=True),
    "lost after it was executed": Failure(
        error=OperationalError("server closed the connection"), cuts=True, is_done=True, statements=("SELECT", *WRITES)
    ),
    "executed on a connection that is lost then": Failure(cuts=True, is_done=True),
    "refused by a standby": Failure(error=InternalError("read-only transaction"), statements=WRITES),
    "refused by a constraint": Failure(error=IntegrityError("its user is gone"), statements=CONSTRAINED),
}


@dataclass(kw_only=True)
class NthFails:
    """Lets one statement fail, of whatever connection: the threads have connections of their own."""

    number: int
    failure: Failure
    seen: int = 0
    failed: str = ""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self, execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        with self.lock:
            self.seen += sql.startswith(self.failure.statements)
            is_next = self.seen == self.number and not self.failed
            self.failed = sql if is_next else self.failed
        if not is_next:
            return execute(sql, params, many, context)
        result = execute(sql, params, many, context) if self.failure.is_done else None
        if self.failure.cuts:
            self.cut(context["connection"])
        if self.failure.error is None:
            return result
        raise self.failure.error

    def cut(self, connection: Any) -> None:
        """Lose the connection of a server database, and with it the transaction; Django finds out when it looks."""
        connection.errors_occurred = True
        if connection.vendor == "postgresql":
            connection.connection.close()

    def watch(self, connection: Any, **kwargs: Any) -> None:
        if self not in connection.execute_wrappers:
            connection.execute_wrappers.append(self)

    @contextmanager
    def installed(self) -> Iterator[None]:
        connections.close_all()
        connection_created.connect(self.watch)
        try:
            yield
        finally:
            connection_created.disconnect(self.watch)
            for connection in connections.all(initialized_only=True):
                with suppress(ValueError):
                    connection.execute_wrappers.remove(self)
            connections.close_all()


class Ontraport:
    """Gives a grant for each code, rotates strictly, revokes, and refuses every access token but the current one."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.forget()

    def forget(self) -> None:
        self.endpoint = TokenEndpoint()
        self.refused: set[str] = set()

    def reply(self, asked: Asked) -> Reply:
        form = {name: values[0] for name, values in parse_qs(asked.body.decode()).items()}
        with self.lock:
            match asked.path:
                case "/token" if "code" in form:
                    self.endpoint.grant(form["code"])
                    return as_json(tokens(form["code"]))
                case "/token":
                    status, members = self.endpoint.refresh(form["refresh_token"])
                    return as_json(members, status)
                case "/revoke":
                    self.endpoint.revoke(form["token"])
                    return Reply()
                case "/mcp/":
                    return Reply(status=503)
            is_known = "Api-Key" in asked.headers or self.is_current(asked.headers["Authorization"].split()[-1])
            return envelope({}) if is_known else as_json({}, 401)

    def is_current(self, access_token: str) -> bool:
        _, name, serial = access_token.split(".")
        grant = self.endpoint.grant(name)
        return grant.alive and str(grant.serial) == serial and access_token not in self.refused

    def settings(self, url: str) -> dict[str, Any]:
        return {
            "ONTRAPORT_CLIENT_ID": "id",
            "ONTRAPORT_CLIENT_SECRET": "secret",
            "ONTRAPORT_ENDPOINTS": {
                "authorization_endpoint": f"{url}/authorize",
                "token_endpoint": f"{url}/token",
                "revocation_endpoint": f"{url}/revoke",
            },
            "ONTRAPORT_REST_URL": f"{url}/1/",
            "ONTRAPORT_MCP_URL": f"{url}/mcp/",
            "ONTRAPORT_REDIRECT_URI": "http://127.0.0.1:8000/ontraport/callback/",
        }


def tokens(name: str) -> dict[str, Any]:
    return {
        "access_token": f"a.{name}.0",
        "refresh_token": f"r.{name}.0",
        "token_type": "Bearer",
        "expires_in": 3600,
    }


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[Ontraport, str]]:
    ontraport = Ontraport()
    with Answering(ontraport.reply) as answering:
        yield ontraport, answering.url


@pytest.fixture
def ontraport(server: tuple[Ontraport, str]) -> Iterator[Ontraport]:
    ontraport, url = server
    with override_settings(**ontraport.settings(url)):
        yield ontraport


@pytest.fixture
def app() -> Iterator[Celery]:
    """A Celery with a broker in memory."""
    app = Celery("tests", broker="memory://", set_as_current=True)
    yield app
    app.control.purge()
    app.close()


class Flow:
    """What is prepared, what is run, and how to see that it was done. What it may raise beside ``OntraportError``: the database's own
    errors, where it is a page (an error page, rolled back) or a task (which runs again).
    """

    raises: Raises = (OntraportError, DatabaseFailure)

    def __init__(self, ontraport: Ontraport) -> None:
        self.ontraport = ontraport
        self.grants = itertools.count()

    def link(self, **values: Any) -> Any:
        """Make an account whose grant Ontraport knows."""
        name = f"g{next(self.grants)}"
        self.ontraport.endpoint.grant(name)
        return linked(name, **values)

    def prepare(self) -> None:
        raise NotImplementedError

    def run(self) -> None:
        raise NotImplementedError

    def again(self) -> None:
        self.run()

    def assert_done(self) -> None:
        """Nothing to add to what holds for all."""


class Refresh(Flow):
    raises: Raises = (OntraportError,)

    def prepare(self) -> None:
        self.account = self.link()

    def run(self) -> None:
        one_account.refresh(self.account)

    def again(self) -> None:
        one_account.refresh(read(self.account))

    def assert_done(self) -> None:
        assert read(self.account).version > 0


class RefreshInTransaction(Refresh):
    raises = (OntraportError, DatabaseFailure)

    def run(self) -> None:
        with transaction.atomic():
            OntraportEvent.objects.create(kind="linked")
            one_account.refresh(self.account)


class RefreshInBatch(Flow):
    def prepare(self) -> None:
        self.accounts = [self.link(failures=number) for number in range(3)]

    def run(self) -> None:
        batches.refresh_batch([account.pk for account in self.accounts])

    def again(self) -> None:
        OntraportAccount.objects.update(refresh_at=timezone.now() - timedelta(seconds=1))
        self.run()

    def assert_done(self) -> None:
        assert all(read(account).version > 0 for account in self.accounts)


class Unauthorized(Flow):
    """Ontraport refuses a token that is not due: it is refreshed, and the request sent again."""

    raises = (OntraportError,)

    def prepare(self) -> None:
        self.account = self.link(expires_in=3600)
        self.ontraport.refused.add(self.account.access_token.reveal())
        self.account = read(self.account)

    def run(self) -> None:
        url = urljoin(conf.ONTRAPORT_REST_URL, "objects")
        self.status = requests.get(url, auth=self.account.auth(), timeout=10).status_code

    def assert_done(self) -> None:
        assert self.status == 200


class Page(Flow):
    def __init__(self, ontraport: Ontraport) -> None:
        super().__init__(ontraport)
        self.user = get_user_model().objects.create_user("maya", password="demo")
        self.browser = Client()
        self.browser.force_login(self.user)


class Link(Page):
    def press(self) -> str:
        return str(self.browser.post(reverse("ontraport_connect:connect"))["Location"])

    def prepare(self) -> None:
        self.url = self.press()

    def run(self) -> None:
        state = parse_qs(urlsplit(self.url).query)["state"][0]
        code = f"g{next(self.grants)}"
        self.response = self.browser.get(reverse("ontraport_connect:callback"), {"code": code, "state": state})

    def again(self) -> None:
        """Press the button again, and follow."""
        self.url = self.press()
        self.run()

    def assert_done(self) -> None:
        assert self.response["Location"] == reverse("ontraport_connect:accounts")
        assert OntraportAccount.objects.filter(user=self.user, status=Status.CONNECTED).exists()


class Reconnect(Link):
    def press(self) -> str:
        return str(self.browser.post(reverse("ontraport_connect:reconnect", args=[self.account.uid]))["Location"])

    def prepare(self) -> None:
        self.account = self.link(user=self.user)
        super().prepare()

    def assert_done(self) -> None:
        super().assert_done()
        assert OntraportAccount.objects.get().pk == self.account.pk


class Disconnect(Page):
    def prepare(self) -> None:
        self.account = self.link(user=self.user)

    def run(self) -> None:
        self.browser.post(reverse("ontraport_connect:disconnect", args=[self.account.uid]))

    def assert_done(self) -> None:
        assert not OntraportAccount.objects.exists()


class LinkKey(Page):
    def prepare(self) -> None:
        """Start without a link."""

    def run(self) -> None:
        form = {"app_id": "2_1_app", "api_key": "a-key"}
        self.response = self.browser.post(reverse("ontraport_connect:connect_key"), form)

    def assert_done(self) -> None:
        assert self.response.status_code == 302
        account = OntraportAccount.objects.get(method=Method.API_KEY)
        assert (account.app_id.reveal(), account.access_token.reveal()) == ("2_1_app", "a-key")


class Deliver(Flow):
    def prepare(self) -> None:
        for _ in range(2):
            account = self.link()
            revoking.queue_revocation(account, account.refresh_token)
            OntraportAccount.objects.filter(pk=account.pk)._raw_delete(using="default")
        self.make_due()

    def make_due(self) -> None:
        OntraportRevocation.objects.update(try_at=timezone.now() - timedelta(seconds=1))

    def run(self) -> None:
        tasks.deliver_revocations()

    def again(self) -> None:
        self.make_due()
        self.run()

    def assert_done(self) -> None:
        assert not OntraportRevocation.objects.exists()


class RotateKeys(Flow):
    def prepare(self) -> None:
        with override_settings(ONTRAPORT_ENCRYPTION_KEYS=KEYS[1:]):
            for _ in range(2):
                account = self.link()
                revoking.queue_revocation(account, account.refresh_token)

    def run(self) -> None:
        with override_settings(ONTRAPORT_ENCRYPTION_KEYS=KEYS):
            key_rotation.rotate_keys(lambda seen: None)

    def assert_done(self) -> None:
        with override_settings(ONTRAPORT_ENCRYPTION_KEYS=KEYS[:1]):
            assert not [
                row
                for model in key_rotation.MODELS
                for page in key_rotation.pages(model)
                for row in page
                if row.unreadable()
            ]


class Beat(Flow):
    def prepare(self) -> None:
        self.accounts = [self.link() for _ in range(3)]

    def run(self) -> None:
        self.found = tasks.refresh_expiring_tokens()

    def assert_done(self) -> None:
        assert self.found == 3


def clear(ontraport: Ontraport) -> None:
    """Begin anew: what is written for the first time only is written again."""
    ontraport.forget()
    OntraportEvent.objects.all().delete()
    OntraportAccount.objects.all()._raw_delete(using="default")
    for model in (OntraportRevocation, OntraportBudget, OntraportService, OntraportUsedState):
        model._default_manager.all().delete()


def let_the_leases_end() -> None:
    OntraportAccount.objects.exclude(lease_until=None).update(lease_until=timezone.now() - timedelta(seconds=1))


def known() -> set[str]:
    """Return the refresh tokens that this site holds, in an account or to revoke them."""
    rows = [*OntraportAccount.objects.filter(refresh_token__isnull=False), *OntraportRevocation.objects.all()]
    return {row.refresh_token.reveal() for row in rows}


def assert_nothing_is_lost(ontraport: Ontraport) -> None:
    """No token was spent twice; what lives at Ontraport is known here, or may be shared by a connected account, and then it is not
    revoked; what is connected here is the current token there.
    """
    grants = ontraport.endpoint.grants
    assert [name for name, grant in grants.items() if grant.reuses] == []
    with override_settings(ONTRAPORT_ENCRYPTION_KEYS=[settings.SECRET_KEY, *KEYS]):
        current = {f"r.{name}.{grant.serial}" for name, grant in grants.items() if grant.alive}
        connected = OntraportAccount.objects.filter(method=Method.OAUTH, status=Status.CONNECTED)
        assert current <= known() or connected.exists()
        for account in connected:
            assert account.refresh_token.reveal() in current
            assert account.access_token.reveal() == account.refresh_token.reveal().replace("r.", "a.", 1)


FLOWS: dict[str, Callable[[Ontraport], Flow]] = {
    "link": Link,
    "reconnect": Reconnect,
    "refresh": Refresh,
    "refresh in a batch": RefreshInBatch,
    "refresh in a transaction": RefreshInTransaction,
    "401": Unauthorized,
    "disconnect": Disconnect,
    "deliver revocations": Deliver,
    "rotate keys": RotateKeys,
    "link a key pair": LinkKey,
    "beat": Beat,
}


INSERTING = {"link", "reconnect", "refresh in a batch", "disconnect", "link a key pair"}
"""Flows that write a row which refers to another."""

CASES = [
    pytest.param(make, failure, id=f"{flow}, {name}", marks=[] if failure.error else pytest.mark.postgresql)
    for flow, make in FLOWS.items()
    for name, failure in FAILURES.items()
    if failure.statements != CONSTRAINED or flow in INSERTING
]


@pytest.mark.parametrize(("make", "failure"), CASES)
def test_whatever_statement_fails(
    ontraport: Ontraport, app: Celery, make: Callable[[Ontraport], Flow], failure: Failure
) -> None:
    flow = make(ontraport)
    for number in itertools.count(1):
        clear(ontraport)
        flow.prepare()
        nth = NthFails(number=number, failure=failure)
        try:
            raised = run(flow, nth)
            assert_nothing_is_lost(ontraport)
            if not nth.failed:
                assert raised is None
                flow.assert_done()
                break
            let_the_leases_end()
            flow.again()
            flow.assert_done()
            assert_nothing_is_lost(ontraport)
        except Exception as error:
            error.add_note(f"Statement {number} failed: {nth.failed}")
            raise
    assert number > 1


def run(flow: Flow, nth: NthFails) -> Exception | None:
    """Run with a failing statement, and return what was raised of what may be."""
    with nth.installed():
        try:
            flow.run()
        except flow.raises as error:
            return error
    return None
