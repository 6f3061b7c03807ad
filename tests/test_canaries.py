"""Every flow and every fault with marked secrets, then a search of everything that anybody could read afterwards.

The servers are hostile: they answer with what they were sent, tokens and client secret included, in bodies, headers and error texts.
"""

from __future__ import annotations

import base64
import io
import json
import logging
import pickle
import socket
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
import sentry_sdk
from celery import current_app
from django.contrib import admin
from django.contrib.auth import get_user_model
from django.core.cache import cache, caches
from django.core.handlers.wsgi import WSGIHandler
from django.core.management import call_command
from django.core.signing import loads
from django.db import connection
from django.http import HttpResponse
from django.test import Client, override_settings
from django.test.utils import CaptureQueriesContext
from django.urls import include, path, reverse
from sentry_sdk.envelope import Envelope
from sentry_sdk.integrations.celery import CeleryIntegration
from sentry_sdk.integrations.django import DjangoIntegration
from sentry_sdk.transport import Transport

from ontraport_connect import keys, linking, refreshing, revoking, tasks
from ontraport_connect.models import OntraportAccount
from ontraport_connect.secret import Secret
from tests.hostile_server import Behaviour, HostileServer, answer, hostile_server, raw, reset

pytestmark = pytest.mark.django_db(transaction=True)

MARKS = {
    "code": "Qh3vXk9LmZpW2sRtY7uB",
    "access token": "aK8dJw5NcVx1GqHyE4Tz",
    "refresh token": "rP6fSb0UoIl3MnDjC9Xe",
    "second access token": "bL9eKx6OdWy2HrIzF5Ua",
    "second refresh token": "sQ7gTc1VpJm4NoEkD0Yf",
    "client secret": "cS5hUd2WqKn8OpFlE1Zg",
    "API key": "kA4jYf7TrGm1BvNxW6Pd",
    "encryption key": "eK2mZc8RsHv5XqLtJ9Gn-eK2mZc8RsHv5XqLtJ9Gn",
}
PART = 8


def pieces(mark: str) -> Iterator[str]:
    """A mark in parts of eight characters, and what base64 makes of it at each of the three offsets."""
    texts = [mark, *(base64.b64encode(b"\0" * offset + mark.encode()).decode()[4:-4] for offset in range(3))]
    for text in texts:
        yield from (text[start : start + PART] for start in range(len(text) - PART + 1))


def hits(sinks: dict[str, str], marks: dict[str, str]) -> list[tuple[str, str]]:
    wanted = {piece: name for name, mark in marks.items() for piece in pieces(mark)}
    return sorted(
        {
            (sink, wanted[text[start : start + PART]])
            for sink, text in sinks.items()
            for start in range(len(text) - PART + 1)
            if text[start : start + PART] in wanted
        }
    )


def tokens(first: bool = True, **more: Any) -> Behaviour:
    prefix = "" if first else "second "
    return answer(
        json.dumps(
            {
                "access_token": MARKS[f"{prefix}access token"],
                "refresh_token": MARKS[f"{prefix}refresh token"],
                "token_type": "bearer",
                "expires_in": 3600,
                **more,
            }
        )
    )


def is_mcp(server: HostileServer) -> bool:
    """The MCP SDK's HTTP library logs the head of each answer at DEBUG; what a server echoes there is not ours to hide."""
    return server.requests[-1].startswith(b"POST /mcp ")


def echo(status: str, error: str) -> Behaviour:
    """Answer with what was asked, everywhere an answer has room."""

    def behave(server: HostileServer, connection: socket.socket) -> None:
        asked = server.requests[-1].decode(errors="replace").replace("\r\n", " ")
        body = {"error": error, "error_description": asked, "error_uri": f"https://x/?{asked}", asked: asked}
        head = "" if is_mcp(server) else asked
        answer(json.dumps(body), status=f"{status} {head}", headers=f"X-Echo: {head}\r\nSet-Cookie: a={head}\r\n")(
            server, connection
        )

    return behave


def echo_broken(server: HostileServer, connection: socket.socket) -> None:
    """Answer with what was asked where no header may be."""
    asked = b"no colon" if is_mcp(server) else server.requests[-1].replace(b"\r\n", b" ")
    raw(b"HTTP/1.1 200 OK\r\n" + asked + b"\r\nContent-Length: 2\r\n\r\n{}")(server, connection)


def echo_status(server: HostileServer, connection: socket.socket) -> None:
    raw(b"GET / HTTP/1.1\r\n\r\n" if is_mcp(server) else server.requests[-1])(server, connection)


FAULTS: dict[str, Behaviour] = {
    "invalid_grant": echo("400", "invalid_grant"),
    "invalid_client": echo("401", "invalid_client"),
    "an error of their own": echo("400", "canary"),
    "500": echo("500", ""),
    "429": echo("429", ""),
    "redirect": answer("", status="307 X", headers="Location: http://127.0.0.1:1/\r\n"),
    "a broken header": echo_broken,
    "the request as the answer": echo_status,
    "tokens that are none": tokens(token_type="mac"),
    "not UTF-8": answer(MARKS["access token"].encode() + b"\xff"),
    "reset": reset(b"HTTP/1.1 200 OK\r\n"),
}


class Memory(Transport):
    """Where Sentry's events go instead of to Sentry."""

    def __init__(self) -> None:
        super().__init__()
        self.events: list[str] = []

    def capture_envelope(self, envelope: Envelope) -> None:
        self.events.extend(repr(item.payload.json) for item in envelope.items)


@pytest.fixture
def sentry() -> Iterator[Memory]:
    """Sentry with its default settings: local variables, the request and breadcrumbs included."""
    memory = Memory()
    sentry_sdk.init(
        dsn="http://key@127.0.0.1/1",
        transport=memory,
        auto_enabling_integrations=False,
        integrations=[DjangoIntegration(), CeleryIntegration()],
    )
    yield memory
    sentry_sdk.get_global_scope().set_client(None)


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """Everything that any logger says, at its most talkative."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logging.Formatter("%(name)s %(levelname)s %(message)s %(args)s"))
    root = logging.getLogger()
    names = [
        "",
        "ontraport_connect",
        "urllib3",
        "requests",
        "celery",
        "django",
        "django.db.backends",
        "django.request",
        "httpx2",
        "mcp",
    ]
    before = {name: logging.getLogger(name).level for name in names}
    for name in names:
        logging.getLogger(name).setLevel(logging.DEBUG)
    root.addHandler(handler)
    yield stream
    root.removeHandler(handler)
    for name, level in before.items():
        logging.getLogger(name).setLevel(level)


@pytest.fixture(scope="module")
def server() -> Iterator[HostileServer]:
    with hostile_server() as server:
        yield server


@pytest.fixture
def ontraport(server: HostileServer) -> Iterator[HostileServer]:
    server.requests.clear()
    endpoints = {
        "issuer": server.url,
        "authorization_endpoint": f"{server.url}/authorize",
        "token_endpoint": f"{server.url}/token",
        "revocation_endpoint": f"{server.url}/revoke",
        "registration_endpoint": f"{server.url}/register",
    }
    current_app.conf.update(broker_url="memory://", result_backend="cache+memory://")
    with override_settings(
        ONTRAPORT_CLIENT_ID="id",
        ONTRAPORT_CLIENT_SECRET=MARKS["client secret"],
        ONTRAPORT_ENCRYPTION_KEYS=[MARKS["encryption key"]],
        ONTRAPORT_ENDPOINTS=endpoints,
        ONTRAPORT_MCP_URL=f"{server.url}/mcp",
        ONTRAPORT_REST_URL=f"{server.url}/1/",
        ONTRAPORT_REDIRECT_URI="https://shop.example/ontraport/callback/",
        ONTRAPORT_TIMEOUT=(1, 1),
        ONTRAPORT_RATE_WAIT=0,
        ROOT_URLCONF=__name__,
    ):
        yield server


@pytest.fixture
def browser(ontraport: HostileServer) -> Client:
    client = Client(raise_request_exception=False)
    client.force_login(get_user_model().objects.create_superuser("maya", password="demo"))
    return client


def use(request: Any) -> HttpResponse:
    """A view of the site that lets every error through."""
    account = OntraportAccount.objects.get(user=request.user)
    refreshing.refresh(account)
    return HttpResponse(str(account))


urlpatterns = [
    path("admin/", admin.site.urls),
    path("ontraport/", include("ontraport_connect.urls")),
    path("use/", use),
]


def visit(browser: Client, url: str) -> str:
    """Ask through WSGI, as a server does, and return all that comes back."""
    parts = urlsplit(url)
    cookies = "; ".join(f"{name}={morsel.value}" for name, morsel in browser.cookies.items())
    environ = {
        "REQUEST_METHOD": "GET",
        "PATH_INFO": parts.path,
        "QUERY_STRING": parts.query,
        "SERVER_NAME": "shop.example",
        "SERVER_PORT": "443",
        "HTTP_COOKIE": cookies,
        "wsgi.input": io.BytesIO(),
        "wsgi.url_scheme": "https",
    }
    heads: list[object] = []
    start: Any = lambda status, headers, *rest: heads.extend([status, *headers])  # noqa: E731
    body = b"".join(WSGIHandler()(environ, start))
    return f"{heads}\n{body.decode()}"


def link(browser: Client, server: HostileServer, behaviour: Behaviour) -> str:
    """Press the button and come back with a code, and return what the browser sees of it."""
    url = browser.post(reverse("ontraport_connect:connect"))["Location"]
    query = {"code": MARKS["code"], "state": parse_qs(urlsplit(url).query)["state"][0], "iss": server.url}
    server.behaviour = behaviour
    return url + visit(browser, f"{reverse('ontraport_connect:callback')}?{urlencode(query)}")


def told_by(step: Callable[[], object]) -> str:
    """What a step that fails tells with its text, its causes, its notes and the local variables of our own frames."""
    try:
        return repr(step())
    except Exception as error:  # noqa: BLE001  # whatever it is, it is looked at
        shown = traceback.TracebackException.from_exception(error, capture_locals=True)
        shown.stack = traceback.StackSummary.from_list([frame for frame in shown.stack if frame.filename != __file__])
        with suppress(TypeError):
            return "".join(shown.format()) + repr(error) + repr(vars(error)) + repr(pickle.dumps(error))
        return "".join(shown.format()) + repr(error) + repr(vars(error))


def database() -> str:
    """Every cell of every table, as it stands there; sessions as they read."""
    cells = []
    with connection.cursor() as cursor:
        for table in connection.introspection.table_names(cursor):
            cursor.execute(f'SELECT * FROM "{table}"')  # noqa: S608
            cells += [
                bytes(cell).decode("latin-1") if isinstance(cell, (bytes, memoryview)) else str(cell)
                for row in cursor.fetchall()
                for cell in row
            ]
        cursor.execute("SELECT session_data FROM django_session")
        salt = "django.contrib.sessions.SessionStore"
        cells += [str(loads(data, salt=salt, serializer=Json)) for (data,) in cursor.fetchall()]
    return "\n".join(cells)


class Json:
    def loads(self, data: bytes) -> Any:
        return json.loads(data)

    def dumps(self, value: Any) -> bytes:
        return json.dumps(value).encode()


def pages(browser: Client) -> str:
    """Everything that a person can look at, of the site and of the admin."""
    urls = [reverse(f"ontraport_connect:{name}") for name in ("accounts", "connect", "connect_key", "client_metadata")]
    urls += [reverse("ontraport_connect:problem", args=[code]) for code in ("unavailable", "misconfigured", "refused")]
    urls += [
        reverse("admin:ontraport_connect_ontraportaccount_changelist") + query for query in ("", "?q=maya", "?q=a")
    ]
    for account in OntraportAccount.objects.all():
        urls += [
            reverse(f"admin:ontraport_connect_ontraportaccount_{name}", args=[account.pk])
            for name in ("change", "history", "delete")
        ]
    answers = [browser.get(url) for url in urls]
    return "\n".join(f"{dict(each.headers)} {each.content.decode()}" for each in answers)


def queued() -> str:
    """The messages that wait for the workers, as they lie at the broker."""
    messages = []
    with current_app.connection_for_read() as broker, suppress(Exception):
        queue = broker.SimpleQueue("celery")
        while True:
            message = queue.get(block=False)
            messages.append(f"{message.headers} {message.payload}")
    return "\n".join(messages)


def commands() -> str:
    stream = io.StringIO()
    for name in (["check"], ["accounts"], ["refresh", "--all"], ["rotate-keys"]):
        with suppress(Exception, SystemExit):
            call_command("ontraport", *name, stdout=stream, stderr=stream)
    call_command("dumpdata", "ontraport_connect", stdout=stream)
    return stream.getvalue()


def objects() -> str:
    """What a programmer sees who looks at an account."""
    shown = []
    for account in OntraportAccount.objects.all():
        shown += [
            repr(account),
            str(account),
            repr(vars(account)),
            repr(account.access_token),
            repr(pickle.dumps(account)),
        ]
        shown += [json.dumps(vars(account), default=str), repr(account.auth()), repr(vars(account.auth()))]
        account.access_token = Secret(MARKS["access token"])
        shown += [repr(vars(account)), told_by(lambda account=account: pickle.dumps(account))]  # type: ignore[misc]
    return "\n".join(shown)


@pytest.mark.parametrize("fault", FAULTS)
def test_no_flow_and_no_fault_leaves_a_secret_anywhere(
    browser: Client, ontraport: HostileServer, fault: str, sentry: Memory, log: io.StringIO
) -> None:
    sinks: dict[str, str] = {}
    failing = FAULTS[fault]
    with CaptureQueriesContext(connection):
        sinks["a link that fails, as the browser sees it"] = link(browser, ontraport, failing)
        sinks["a link, as the browser sees it"] = link(browser, ontraport, tokens())
        account = OntraportAccount.objects.get()
        sinks["objects"] = objects()
        ontraport.behaviour = failing
        sinks["a refresh that fails"] = told_by(lambda: refreshing.refresh(OntraportAccount.objects.get()))
        for debug in (False, True):
            OntraportAccount.objects.update(status="connected", failures=0, lease_until=None)
            with override_settings(DEBUG=debug):
                sinks[f"a page that fails, DEBUG={debug}"] = visit(browser, "/use/")
        OntraportAccount.objects.update(
            status="connected", failures=0, lease_until=None, refresh_at="2020-01-01T00:00Z"
        )
        sinks["the beat task"] = told_by(tasks.refresh_expiring_tokens)
        sinks["the worker's task"] = told_by(lambda: tasks.refresh_accounts.apply(args=([account.pk],)).result)
        sinks["messages to the workers"] = queued()
        sinks["a call with OAuth"] = told_by(lambda: OntraportAccount.objects.get().mcp("get_account_info"))
        owner = linking.Owner(user=account.user, tenant=None)
        pair: dict[str, Any] = {"app_id": Secret("an-app-id"), "api_key": Secret(MARKS["API key"])}
        sinks["a key pair that fails"] = told_by(lambda: keys.link(owner, **pair))
        form = {"app_id": "an-app-id", "api_key": MARKS["API key"]}
        posted = browser.post(reverse("ontraport_connect:connect_key"), form)
        sinks["the form of a key pair that fails"] = posted.content.decode()
        ontraport.behaviour = answer('{"code": 0, "data": [], "account_id": 7}')
        linked = keys.link(owner, **pair)
        ontraport.behaviour = failing
        sinks["a call with a key pair"] = told_by(lambda: linked.rest("GET", "Contacts"))
        ontraport.behaviour = tokens(first=False)
        OntraportAccount.objects.filter(pk=account.pk).update(status="connected", lease_until=None)
        sinks["a refresh"] = told_by(lambda: refreshing.refresh(OntraportAccount.objects.get(pk=account.pk)))
        sinks["commands"] = commands()
        sinks["pages"] = pages(browser)
        ontraport.behaviour = failing
        sinks["a disconnect"] = told_by(lambda: linking.unlink(OntraportAccount.objects.get(pk=account.pk)))
        sinks["revocations"] = told_by(lambda: revoking.deliver_due(10))
        sinks["the database"] = database()
    sinks["the log"] = log.getvalue()
    sinks["Sentry"] = "\n".join(sentry.events)
    sinks["the cache"] = repr(vars(cache)) + repr(vars(caches["default"]))
    sinks["cookies"] = str(browser.cookies)
    sinks["addresses of requests"] = "\n".join(
        request.split(b"\r\n")[0].decode(errors="replace") for request in ontraport.requests
    )
    assert hits(sinks, MARKS) == []
    assert all(text for name, text in sinks.items() if name != "messages to the workers")


def test_the_search_finds_what_is_there() -> None:
    """A scan that finds nothing is worth what it would have found."""
    for name, mark in MARKS.items():
        for text in (
            mark,
            mark[5:13],
            f"x{base64.b64encode(b'Bearer ' + mark.encode()).decode()}",
            f"%20{mark[2:]}%20",
        ):
            assert (("sink", name)) in hits({"sink": text}, MARKS)


def test_a_callback_that_fails_reports_its_error_without_its_address(
    browser: Client, ontraport: HostileServer, sentry: Memory, log: io.StringIO
) -> None:
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE ontraport_connect_ontraportusedstate RENAME TO away")
    try:
        shown = link(browser, ontraport, tokens())
    finally:
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE away RENAME TO ontraport_connect_ontraportusedstate")
    assert "/problem/failed/" in shown
    assert any("Linking failed" in event for event in sentry.events)
    assert hits({"Sentry": "\n".join(sentry.events), "log": log.getvalue(), "page": shown}, MARKS) == []


def test_sentry_sees_local_variables_here(browser: Client, ontraport: HostileServer, sentry: Memory) -> None:
    link(browser, ontraport, tokens())
    ontraport.behaviour = FAULTS["500"]
    visit(browser, "/use/")
    assert any("'vars'" in event and "status 500" in event for event in sentry.events)
