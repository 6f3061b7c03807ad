"""Every flow and every fault with marked secrets, then a search of everything that anybody could read afterwards.

The servers are hostile: they repeat what they were sent, tokens and client secret included, in bodies, headers and error texts.
"""

from __future__ import annotations

import base64
import io
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, quote, urlencode, urlsplit
from uuid import UUID

import pytest
from celery import Celery
from django.conf import settings
from django.contrib import admin
from django.contrib.auth import get_user_model
from django.contrib.sessions.models import Session
from django.core import mail, signing
from django.core.cache import cache
from django.core.handlers.wsgi import WSGIHandler
from django.core.management import call_command
from django.db import connection
from django.http import HttpResponse
from django.test import Client, override_settings
from django.test.utils import CaptureQueriesContext
from django.urls import include, path, reverse
from django.utils import timezone

from ontraport_connect import linking, tasks
from ontraport_connect.encryption.secret import Secret
from ontraport_connect.exceptions import OntraportError
from ontraport_connect.linking import key_pairs
from ontraport_connect.models import EventKind, OntraportAccount, OntraportEvent, OntraportService, Status
from ontraport_connect.refreshing import one_account, revoking
from ontraport_connect.staff import notices
from tests.support.echoing import FAULTS, tokens
from tests.support.hostile_server import Behaviour, HostileServer, answer, hostile_server
from tests.support.mail_server import mailer
from tests.support.marks import MARKS, hits
from tests.support.sinks import SINKS, Sinks, bear_witness, logs, printed, receivers, sentry, warned

pytestmark = pytest.mark.django_db(transaction=True)
CALLBACK = "https://shop.example/ontraport/callback/"


@dataclass(frozen=True, kw_only=True)
class Site:
    """A person's browser, the site's workers, and the server in Ontraport's place."""

    browser: Client
    app: Celery
    server: HostileServer


@pytest.fixture
def sinks() -> Iterator[Sinks]:
    """Watch every sink from now on."""
    sinks = Sinks()
    with ExitStack() as stack:
        for watch in (sentry, logs, receivers):
            stack.enter_context(watch(sinks))
        yield sinks


@pytest.fixture(scope="module")
def server() -> Iterator[HostileServer]:
    with hostile_server() as server:
        yield server


@pytest.fixture
def app() -> Iterator[Celery]:
    """A Celery app whose broker and results are in memory, where they can be read."""
    app = Celery("canaries", broker="memory://", backend="cache+memory://", set_as_current=True)
    app.conf.task_store_eager_result = True
    yield app
    app.control.purge()
    app.close()


@pytest.fixture
def ontraport(server: HostileServer, app: Celery) -> Iterator[HostileServer]:
    server.requests.clear()
    endpoints = {
        "issuer": server.url,
        "authorization_endpoint": f"{server.url}/authorize",
        "token_endpoint": f"{server.url}/token",
        "revocation_endpoint": f"{server.url}/revoke",
        "registration_endpoint": f"{server.url}/register",
    }
    with override_settings(
        ONTRAPORT_CLIENT_ID="id",
        ONTRAPORT_CLIENT_SECRET=MARKS["client secret"],
        ONTRAPORT_ENCRYPTION_KEYS=[MARKS["encryption key"]],
        ONTRAPORT_ENDPOINTS=endpoints,
        ONTRAPORT_MCP_URL=f"{server.url}/mcp",
        ONTRAPORT_REST_URL=f"{server.url}/1/",
        ONTRAPORT_REDIRECT_URI=CALLBACK,
        ONTRAPORT_TIMEOUT=(1, 1),
        ONTRAPORT_RATE_WAIT=0,
        ONTRAPORT_NOTIFY=True,
        ROOT_URLCONF=__name__,
        **mailer("locmem"),
    ):
        yield server


@pytest.fixture
def site(ontraport: HostileServer, app: Celery) -> Site:
    cache.clear()
    browser = Client(raise_request_exception=False)
    browser.force_login(get_user_model().objects.create_superuser("maya", "maya@shop.example", "demo"))
    return Site(browser=browser, app=app, server=ontraport)


def use(request: Any) -> HttpResponse:
    """A view that lets every error through."""
    account = OntraportAccount.objects.get(user=request.user, method="oauth")
    one_account.refresh(account)
    return HttpResponse(str(account))


def fail(request: Any) -> HttpResponse:
    """A view that raises an error of its own from ours."""
    try:
        return use(request)
    except OntraportError as error:
        raise RuntimeError("This page is broken.") from error


urlpatterns = [
    path("admin/", admin.site.urls),
    path("ontraport/", include("ontraport_connect.urls")),
    path("use/", use),
    path("fail/", fail),
]


def visit(sinks: Sinks, sink: str, site: Site, url: str, accept: str = "text/html") -> None:
    """Send a request through WSGI, as a server does, so that error reporters know it. Collect the whole response."""
    parts = urlsplit(url)
    environ = {
        "REQUEST_METHOD": "GET",
        "PATH_INFO": parts.path,
        "QUERY_STRING": parts.query,
        "SERVER_NAME": "shop.example",
        "SERVER_PORT": "443",
        "HTTP_ACCEPT": accept,
        "HTTP_COOKIE": "; ".join(f"{name}={morsel.value}" for name, morsel in site.browser.cookies.items()),
        "wsgi.input": io.BytesIO(),
        "wsgi.url_scheme": "https",
    }
    begun: list[Any] = []
    start: Any = lambda status, headers, *rest: begun.extend((status, headers))  # noqa: E731
    body = b"".join(WSGIHandler()(environ, start))
    for name, value in begun[1]:
        if name == "Set-Cookie":
            site.browser.cookies.load(value)
    sinks.look_at_answer(sink, begun[0], begun[1], body.decode())


def press(sinks: Sinks, browser: Client) -> str:
    """Press the button, and return the ``state`` that was sent to Ontraport."""
    response = browser.post(reverse("ontraport_connect:connect"))
    sinks.look_at_response("page: connect", response)
    return parse_qs(urlsplit(response["Location"]).query)["state"][0]


def link(sinks: Sinks, site: Site, behaviour: Behaviour) -> None:
    """Press the button and return from Ontraport with a code."""
    come_back(sinks, site, behaviour, press(sinks, site.browser))


def come_back(sinks: Sinks, site: Site, behaviour: Behaviour, state: str) -> None:
    query = {"code": MARKS["code"], "state": state, "iss": site.server.url}
    site.server.behaviour = behaviour
    url = f"{reverse('ontraport_connect:callback')}?{urlencode(query)}"
    visit(sinks, "page: after the callback", site, url)
    sinks.look_at_messages(site.browser.cookies)


def make_due(**values: Any) -> None:
    """Undo what the last refresh did to the accounts and to the site's standing."""
    OntraportService.objects.all().delete()
    defaults = {"status": Status.CONNECTED, "failures": 0, "lease_until": None}
    OntraportAccount.objects.update(**{**defaults, **values})


def link_and_refresh(sinks: Sinks, site: Site, failing: Behaviour) -> None:
    link(sinks, site, failing)
    link(sinks, site, tokens())
    account = OntraportAccount.objects.get()
    sinks.look_at_account(account)
    account.access_token = Secret(MARKS["access token"])
    sinks.look_at_account(account)
    site.server.behaviour = failing
    sinks.attempt(lambda: one_account.refresh(OntraportAccount.objects.get()))
    for sink, debug, accept in (
        ("report to the site's admins", False, "text/html"),
        ("debug page", True, "text/html"),
        ("debug report in plain text", True, "text/plain"),
    ):
        for url in ("/use/", "/fail/"):
            make_due()
            with override_settings(DEBUG=debug):
                visit(sinks, sink, site, url, accept)
    sinks.attempt(lambda: OntraportAccount.objects.get().mcp("get_account_info"))
    sinks.attempt(lambda: OntraportAccount.objects.get().rest("GET", "Contacts"))


def work(sinks: Sinks, app: Celery) -> None:
    """Do what beat and the workers do."""
    make_due(refresh_at=timezone.now() - timedelta(days=1))
    pks = list(OntraportAccount.objects.values_list("pk", flat=True))
    sinks.attempt(tasks.refresh_expiring_tokens)
    tasks.refresh_accounts.delay(pks)
    for task, args in (
        (tasks.refresh_accounts, [pks]),
        (tasks.check_keys, []),
        (tasks.deliver_revocations, []),
        (tasks.refresh_accounts, ["no ids"]),
    ):
        sinks.attempt(lambda task=task, args=args: vars(task.apply(args=args, ignore_result=False)))  # type: ignore[misc]
    sinks.look_at_queue(app)
    backend: Any = app.backend
    sinks.add("results of tasks", backend.client.cache)


def link_key(sinks: Sinks, site: Site, failing: Behaviour) -> None:
    account = OntraportAccount.objects.get()
    owner = linking.Owner(user=account.user, tenant=None)
    pair: dict[str, Any] = {"app_id": Secret("an-app-id"), "api_key": Secret(MARKS["API key"])}
    sinks.attempt(lambda: key_pairs.link_key_pair(owner, **pair))
    form = {"app_id": "an-app-id", "api_key": MARKS["API key"]}
    url = reverse("ontraport_connect:connect_key")
    sinks.look_at_response("page: form with a key that failed", site.browser.post(url, form))
    site.server.behaviour = answer('{"code": 0, "data": [], "account_id": 7}')
    sinks.look_at_response("page: connect with a key", site.browser.post(url, form))
    linked = OntraportAccount.objects.get(method="api_key")
    sinks.look_at_account(linked)
    site.server.behaviour = failing
    sinks.attempt(lambda: linked.rest("GET", "Contacts"))
    sinks.attempt(lambda: linked.mcp("get_account_info"))
    OntraportAccount.objects.update(status=Status.CONNECTED)


def command(sinks: Sinks, capfd: pytest.CaptureFixture[str]) -> None:
    """Run every subcommand, with and without ``--json``."""
    out, err = io.StringIO(), io.StringIO()
    err.write("this-is-watched")
    uid = str(OntraportAccount.objects.filter(method="oauth").get().uid)
    for arguments in (
        *(["check"], ["accounts"], ["refresh", uid], ["refresh", "--all"], ["rotate-keys"], ["register", "--again"]),
        *(["disconnect", str(UUID(int=0)), "--yes"],),
    ):
        for json_too in ([], ["--json"]):
            sinks.attempt(lambda: call_command("ontraport", *arguments, *json_too, stdout=out, stderr=err))  # noqa: B023
    sinks.add("stdout of commands", printed(out))
    sinks.add("stderr of commands", printed(err))
    call_command("dumpdata", stdout=out)
    sinks.add("dumpdata", out.getvalue())
    said = capfd.readouterr()
    sinks.add("stdout of the process", said.out)
    sinks.add("stderr of the process", said.err)


def look_at_pages(sinks: Sinks, browser: Client) -> None:
    """Open every page of the site and of the admin."""
    own, staff = "ontraport_connect:", "admin:ontraport_connect_ontraportaccount_"
    pages = [
        ("page: accounts", reverse(f"{own}accounts")),
        ("page: connect", reverse(f"{own}connect")),
        ("page: connect with a key", reverse(f"{own}connect_key")),
        ("page: client metadata", reverse(f"{own}client_metadata")),
        ("admin: list", reverse(f"{staff}changelist")),
        ("admin: at a glance", reverse(f"{staff}glance")),
        ("admin: events", reverse("admin:ontraport_connect_ontraportevent_changelist")),
        *(("page: problem", reverse(f"{own}problem", args=[code])) for code in ("unavailable", "refused", "failed")),
        *(("admin: search", reverse(f"{staff}changelist") + f"?q={words}") for words in ("maya", "a", "7")),
    ]
    for account in OntraportAccount.objects.all():
        for sink, name in (("account", "change"), ("history", "history"), ("disconnect", "delete")):
            pages.append((f"admin: {sink}", reverse(f"{staff}{name}", args=[account.pk])))
    for sink, url in pages:
        sinks.look_at_response(sink, browser.get(url))


def act_as_staff(sinks: Sinks, browser: Client) -> None:
    selected = [str(pk) for pk in OntraportAccount.objects.values_list("pk", flat=True)]
    url = reverse("admin:ontraport_connect_ontraportaccount_changelist")
    for action in ("refresh_now", "disconnect"):
        form = {"action": action, "_selected_action": selected}
        response = sinks.look_at_response("admin: actions", browser.post(url, form))
        sinks.look_at_messages(response.cookies)
        sinks.look_at_response("admin: actions", browser.get(url))


def link_with_other_sessions(sinks: Sinks) -> None:
    """Start one attempt with a session in a cookie, and one with a session in the cache."""
    for engine in ("signed_cookies", "cache"):
        with override_settings(SESSION_ENGINE=f"django.contrib.sessions.backends.{engine}"):
            other = Client()
            other.force_login(get_user_model().objects.get())
            press(sinks, other)
            if engine == "signed_cookies":
                cookie, salt = (
                    other.cookies[settings.SESSION_COOKIE_NAME].value,
                    "django.contrib.sessions.backends.signed_cookies",
                )
                sinks.add("session in the cookie", cookie, signing.loads(cookie, salt=salt))
    sinks.look_at_cache()


def write_to_people(sinks: Sinks) -> None:
    account = OntraportAccount.objects.filter(method="oauth").get()
    OntraportAccount.objects.filter(pk=account.pk).update(status=Status.NEEDS_RECONNECT, notified_at=None)
    OntraportEvent.objects.all().delete()
    OntraportEvent.record(account, EventKind.NEEDS_RECONNECT, "http_500")
    OntraportEvent.objects.update(at=timezone.now() - timedelta(minutes=10))
    sinks.attempt(notices.send_due_notices)
    for message in mail.outbox:
        sinks.add("e-mails", message.message().as_string(), vars(message))


def disconnect(sinks: Sinks, browser: Client) -> None:
    for account in OntraportAccount.objects.all():
        url = reverse("ontraport_connect:disconnect", args=[account.uid])
        sinks.look_at_messages(sinks.look_at_response("page: accounts", browser.post(url)).cookies)
    sinks.attempt(lambda: revoking.deliver_revocations(10))


def run_all(sinks: Sinks, site: Site, failing: Behaviour, capfd: pytest.CaptureFixture[str]) -> None:
    """Run every flow. Ontraport fails in this way wherever it is asked, and answers correctly in between."""

    def observed(server: HostileServer, connection: socket.socket) -> None:
        sinks.look_at_stacks()
        failing(server, connection)

    bear_witness(sinks)
    link_and_refresh(sinks, site, observed)
    link_key(sinks, site, observed)
    work(sinks, site.app)
    make_due()
    site.server.behaviour = tokens(first=False)
    visit(sinks, "page: of the site", site, "/use/")
    sinks.look_at_account(OntraportAccount.objects.get(method="oauth"))
    site.server.behaviour = observed
    look_at_pages(sinks, site.browser)
    make_due()
    act_as_staff(sinks, site.browser)
    command(sinks, capfd)
    link_with_other_sessions(sinks)
    sinks.look_at_database()
    write_to_people(sinks)
    sinks.look_at_database()
    disconnect(sinks, site.browser)
    sinks.look_at_database()
    sinks.add("session in the database", *(row.get_decoded() for row in Session.objects.all()))
    sinks.look_at_process()
    sinks.look_at_cache()
    sinks.add("addresses that are asked", *(request.split(b"\r\n")[0].decode() for request in site.server.requests))


def verifiers(server: HostileServer) -> dict[str, str]:
    """Return the PKCE verifiers that were sent."""
    forms = (parse_qs(request.partition(b"\r\n\r\n")[2].decode(errors="replace")) for request in server.requests)
    found = [verifier for form in forms for verifier in form.get("code_verifier", [])]
    assert found
    return {f"verifier {number}": verifier for number, verifier in enumerate(found)}


@pytest.mark.parametrize("fault", FAULTS)
def test_no_flow_and_no_fault_leaves_a_secret_anywhere(
    site: Site, fault: str, sinks: Sinks, capfd: pytest.CaptureFixture[str]
) -> None:
    with CaptureQueriesContext(connection) as queries, warned(sinks):
        run_all(sinks, site, FAULTS[fault], capfd)
    sinks.add("SQL statements", *(query["sql"] for query in queries.captured_queries))
    texts = sinks.texts()
    assert hits(texts, {**MARKS, **verifiers(site.server)}) == []
    silent = [name for name, witness in SINKS.items() if witness not in texts[name]]
    assert not silent, silent


def test_there_are_at_least_thirty_sinks() -> None:
    assert len(SINKS) >= 30
    assert all(SINKS.values())


def test_the_search_finds_what_is_there() -> None:
    """A search that finds nothing proves as much as it would have found."""
    for name, mark in MARKS.items():
        for text in (
            mark,
            mark[5:13],
            f"x{base64.b64encode(b'Bearer ' + mark.encode()).decode()}",
            f"%20{mark[2:]}%20",
            quote(mark, safe=""),
            "".join(f"%{byte:02x}" for byte in mark.encode()),
            repr(mark.encode().hex()),
            *(base64.urlsafe_b64encode(b"." * offset + mark.encode()).decode() for offset in range(3)),
        ):
            for offset in range(4):
                assert hits({"sink": "." * offset + text}, MARKS) == [("sink", name)]


def test_a_callback_that_fails_reports_its_error_without_its_address(site: Site, sinks: Sinks) -> None:
    state = press(sinks, site.browser)
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE ontraport_connect_ontraportattempt RENAME TO away")
    try:
        come_back(sinks, site, tokens(), state)
    finally:
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE away RENAME TO ontraport_connect_ontraportattempt")
    texts = sinks.texts()
    assert "/problem/failed/" in texts["redirects"]
    assert "Linking failed" in texts["Sentry"]
    assert hits(texts, MARKS) == []


def test_sentry_sees_local_variables_here(site: Site, sinks: Sinks) -> None:
    link(sinks, site, tokens())
    site.server.behaviour = FAULTS["500"]
    visit(sinks, "debug page", site, "/fail/")
    assert "'vars'" in sinks.texts()["Sentry"]
    assert "status 500" in sinks.texts()["Sentry"]
