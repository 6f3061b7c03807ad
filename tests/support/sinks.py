"""The places where a secret could appear, by name, and how to collect what can be seen there."""

from __future__ import annotations

import copy
import faulthandler
import io
import json
import logging
import os
import pickle
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import sentry_sdk
from celery import Celery
from celery.worker.request import Request
from django.contrib.messages.storage.cookie import CookieStorage
from django.core import serializers
from django.core.cache import caches
from django.core.serializers.json import DjangoJSONEncoder
from django.db import connection
from django.forms import model_to_dict
from django.http import HttpRequest
from django.template import Context, Template
from django.test import override_settings
from django.utils.log import AdminEmailHandler
from sentry_sdk.envelope import Envelope
from sentry_sdk.integrations.celery import CeleryIntegration
from sentry_sdk.integrations.django import DjangoIntegration
from sentry_sdk.transport import Transport

from ontraport_connect import signals

WITNESS = "this-is-watched"
"""Written on purpose where nothing else is certain to appear."""

LOGGERS = {
    "ontraport_connect": WITNESS,
    "urllib3": WITNESS,
    "requests": WITNESS,
    "oauthlib": WITNESS,
    "celery": "succeeded",
    "kombu": WITNESS,
    "django": "Internal Server Error",
    "django.db.backends": "UPDATE",
    "django.template": WITNESS,
    "mcp": WITNESS,
    "client": WITNESS,
    "httpx2": WITNESS,
    "asyncio": WITNESS,
    "": WITNESS,
}
"""The loggers that have a sink of their own. A record goes to the sink of its nearest ancestor."""

SINKS: Mapping[str, str] = {
    **{f"log of {name or 'everything else'}": witness for name, witness in LOGGERS.items()},
    "text of errors": "Ontraport",
    "repr of errors": "Ontraport",
    "format of errors": "Ontraport",
    "attributes of errors": "code",
    "causes and contexts of errors": WITNESS,
    "notes of errors": WITNESS,
    "pickled errors": "ontraport_connect.exceptions",
    "tracebacks with local variables": "one_account.py",
    "stacks of threads": "protocol/http.py",
    "returned values": WITNESS,
    "repr of accounts": "OntraportAccount",
    "str and format of accounts": "Ontraport",
    "vars of accounts": "ontraport_id",
    "copies of accounts": "ontraport_id",
    "pickled accounts": "ontraport_id",
    "JSON of accounts": "ontraport_id",
    "forms of accounts": "label",
    "secrets": "[secret]",
    "auth objects": "AccountAuth",
    "export of accounts": "ontraport_connect.ontraportaccount",
    "what signals carry": "account",
    "templates": "[secret]",
    "page: accounts": "Disconnect",
    "page: connect": "</form>",
    "page: connect with a key": "</form>",
    "page: problem": "</main>",
    "page: client metadata": "redirect_uris",
    "page: form with a key that failed": "</form>",
    "page: after the callback": "302 Found",
    "page: of the site": "200 OK",
    "debug page": "Exception Value",
    "debug report in plain text": "Traceback",
    "report to the site's admins": "Traceback",
    "admin: list": "changelist",
    "admin: account": "csrfmiddlewaretoken",
    "admin: history": "history",
    "admin: disconnect": "Disconnect",
    "admin: search": "changelist",
    "admin: actions": "csrfmiddlewaretoken",
    "admin: at a glance": "glance",
    "admin: events": "refresh",
    "redirects": "/ontraport/",
    "headers of responses": "Content-Type",
    "cookies of responses": "ontraport_browser",
    "messages": "connected",
    "session in the database": "ontraport_connect",
    "session in the cookie": "_auth_user_id",
    "cache": "_auth_user_id",
    "e-mails": "Reconnect",
    "warnings": WITNESS,
    "messages to workers": "refresh_accounts",
    "tasks as a worker shows them": "refresh_accounts",
    "results of tasks": "SUCCESS",
    "Sentry": "'vars'",
    "stdout of commands": '"uid"',
    "stderr of commands": WITNESS,
    "dumpdata": "ontraport_connect.ontraportaccount",
    "stdout of the process": WITNESS,
    "stderr of the process": WITNESS,
    "environment and arguments": "PATH",
    "rows of events": "linked",
    "rows of all tables": "maya",
    "SQL statements": "UPDATE",
    "addresses that are asked": "POST /token",
}
"""Each sink, and a word that appears there when the sink is really being watched."""


class Sinks:
    """Collects what was seen, by sink."""

    def __init__(self) -> None:
        self._seen: dict[str, list[str]] = {name: [] for name in SINKS}

    def add(self, sink: str, *values: object) -> None:
        self._seen[sink] += [value if isinstance(value, str) else repr(value) for value in values]

    def texts(self) -> dict[str, str]:
        return {name: "\n".join(dict.fromkeys(seen)) for name, seen in self._seen.items()}

    def attempt(self, step: Callable[[], object], sink: str = "returned values") -> None:
        """Run a step, and collect what it returns, or its error in every form."""
        try:
            value = step()
        except (Exception, SystemExit) as error:  # noqa: BLE001  # whatever it is, it is looked at
            self.look_at_error(error)
        else:
            self.add(sink, value)

    def look_at_error(self, error: BaseException) -> None:
        shown = traceback.TracebackException.from_exception(error, capture_locals=True)
        chain = list(chained(error, set()))
        leave_out_ours(shown)
        self.add("tracebacks with local variables", *shown.format())
        self.add("text of errors", str(error))
        self.add("repr of errors", error)
        self.add("format of errors", f"{error}", f"{error!r:>60}", f"{error} {error!r:.500}")
        self.add("attributes of errors", vars(error), error.args)
        self.add("attributes of errors", {name: getattr(error, name) for name in dir(error) if name[0] != "_"})
        for link in chain[1:]:
            self.add("causes and contexts of errors", str(link), link, vars(link), link.args)
        for link in chain:
            self.add("notes of errors", getattr(link, "__notes__", []))
        with suppress(TypeError, AttributeError, pickle.PicklingError):
            self.add("pickled errors", pickle.dumps(error, 0).decode("latin-1"))

    def look_at_account(self, account: Any) -> None:
        """Collect what a programmer sees of an account."""
        self.add("repr of accounts", account, [account], {"account": account})
        self.add("str and format of accounts", str(account), f"{account}", f"{account!s:>40}", f"{account!r:>40}")
        self.add("vars of accounts", vars(account), [getattr(account, field.name) for field in account._meta.fields])
        self.add("auth objects", account.auth(), vars(account.auth()), f"{account.auth()}")
        for copied in (copy.copy(account), copy.deepcopy(account)):
            self.add("copies of accounts", copied, vars(copied))
        for protocol in (0, pickle.HIGHEST_PROTOCOL):
            self.attempt(lambda p=protocol: pickle.dumps(account, p).decode("latin-1"), "pickled accounts")  # type: ignore[misc]
        values = {name: value for name, value in vars(account).items() if name != "_state"}
        self.attempt(lambda: json.dumps(values, cls=DjangoJSONEncoder), "JSON of accounts")
        self.attempt(lambda: json.dumps(values, default=str), "JSON of accounts")
        fields = [field.name for field in account._meta.fields]
        self.add(
            "forms of accounts", model_to_dict(account), [model_to_dict(account, fields=[name]) for name in fields]
        )
        for secret in (account.access_token, account.refresh_token, account.app_id):
            self.add("secrets", secret, str(secret), f"{secret}", [secret], copy.deepcopy(secret), dir(secret))
        rows = type(account)._default_manager.filter(pk=account.pk)
        for kind in ("json", "jsonl", "xml", "python"):
            self.attempt(lambda kind=kind: serializers.serialize(kind, [account]), "export of accounts")  # type: ignore[misc]
        self.add("export of accounts", *rows.values(), *rows.values_list())
        text = "{{ account.access_token }} {{ account.access_token.reveal }} {{ account.refresh_token|pprint }} {% debug %}"
        for debug in (False, True):
            with override_settings(DEBUG=debug):
                self.add("templates", Template(text).render(Context({"account": account})))

    def look_at_response(self, sink: str, response: Any) -> Any:
        """Collect what a browser sees of a response of Django's test client."""
        self.look_at_answer(sink, response.status_code, response.headers.items(), response.content.decode())
        self.add("cookies of responses", response.cookies.output())
        return response

    def look_at_answer(self, sink: str, status: object, headers: Any, body: str) -> None:
        self.add(sink, status, body)
        for name, value in headers:
            self.add("redirects" if name == "Location" else "headers of responses", f"{name}: {value}")

    def look_at_messages(self, cookies: Any) -> None:
        """Collect the messages that wait in a browser's cookie for the next page."""
        request = HttpRequest()
        request.COOKIES = {name: morsel.value for name, morsel in cookies.items()}
        self.add("messages", *(str(message) for message in CookieStorage(request)))

    def look_at_queue(self, app: Celery) -> None:
        """Collect the messages at the broker, and how ``inspect active`` would show them in a worker."""
        with app.connection_for_read() as broker, broker.SimpleQueue("celery") as queue:
            while len(queue):
                message = queue.get_nowait()
                message.ack()
                self.add("messages to workers", message.headers, message.properties, message.body, message.payload)
                shown = Request(message, app=app)
                self.add("tasks as a worker shows them", shown.info(), shown.info(safe=True), shown)

    def look_at_database(self) -> None:
        """Collect every cell of every table."""
        with connection.cursor() as cursor:
            for table in connection.introspection.table_names(cursor):
                cursor.execute(f"SELECT * FROM {connection.ops.quote_name(table)}")  # noqa: S608
                sink = "rows of events" if table.endswith("ontraportevent") else "rows of all tables"
                for row in cursor.fetchall():
                    self.add(sink, *(bytes(cell).decode("latin-1") if is_binary(cell) else str(cell) for cell in row))

    def look_at_process(self) -> None:
        own = Path("/proc/self")
        for file in (own / "environ", own / "cmdline"):
            with suppress(OSError):
                self.add("environment and arguments", file.read_text(errors="replace"))
        self.add("environment and arguments", dict(os.environ), sys.argv)

    def look_at_stacks(self) -> None:
        with tempfile.TemporaryFile("w+") as file:
            faulthandler.dump_traceback(file)
            file.seek(0)
            self.add("stacks of threads", file.read())

    def look_at_cache(self) -> None:
        kept = vars(caches["default"])
        self.add("cache", kept, *(value.decode("latin-1") for value in kept["_cache"].values()))


def is_binary(cell: object) -> bool:
    return isinstance(cell, (bytes, memoryview))


def is_ours(frame: traceback.FrameSummary) -> bool:
    """Return whether a frame belongs to the tests, which hold the secrets, and not to the app or its libraries."""
    return Path(__file__).parents[1] in Path(frame.filename).parents


def leave_out_ours(shown: traceback.TracebackException | None) -> None:
    if shown is not None:
        shown.stack = traceback.StackSummary.from_list([frame for frame in shown.stack if not is_ours(frame)])
        leave_out_ours(shown.__cause__)
        leave_out_ours(shown.__context__)


def chained(error: BaseException | None, known: set[int]) -> Iterator[BaseException]:
    """Yield an error with all its causes and contexts, those hidden by ``from None`` included."""
    if error is not None and id(error) not in known:
        known.add(id(error))
        yield error
        yield from chained(error.__cause__, known)
        yield from chained(error.__context__, known)


def bear_witness(sinks: Sinks) -> None:
    """Write the witness to every sink where nothing else is certain to appear."""
    for name, witness in LOGGERS.items():
        if witness == WITNESS:
            logging.getLogger(name or "tests").debug(WITNESS)
    warnings.warn(WITNESS, stacklevel=1)
    print(WITNESS)
    print(WITNESS, file=sys.stderr)
    sinks.add("returned values", WITNESS)
    error = ValueError("what went wrong")
    error.__cause__ = KeyError(WITNESS)
    error.add_note(WITNESS)
    sinks.look_at_error(error)


class Handler(logging.Handler):
    """Collect every record that any logger lets through: its text, its traceback and its attributes."""

    def __init__(self, sinks: Sinks) -> None:
        super().__init__()
        self.sinks = sinks

    def emit(self, record: logging.LogRecord) -> None:
        name = record.name
        while name not in LOGGERS:
            name = name.rpartition(".")[0]
        self.sinks.add(f"log of {name or 'everything else'}", self.format(record), vars(record))


class Report(AdminEmailHandler):
    """Collect the error mail to the site's admins, with the debug page that Django can add to it."""

    def __init__(self, sinks: Sinks) -> None:
        super().__init__(include_html=True)
        self.sinks = sinks

    def send_mail(self, subject: object, message: object, *args: Any, **kwargs: Any) -> None:
        self.sinks.add("report to the site's admins", subject, message, kwargs)


@contextmanager
def logs(sinks: Sinks) -> Iterator[None]:
    """Set every logger to DEBUG, those too that the settings disable."""
    root = logging.getLogger()
    known = [each for each in root.manager.loggerDict.values() if isinstance(each, logging.Logger)]
    before = [(each, each.level, each.disabled, each.propagate) for each in (root, *known)]
    for each in known:
        each.setLevel(logging.NOTSET)
        each.disabled, each.propagate = False, True
    root.setLevel(logging.DEBUG)
    handler, report = Handler(sinks), Report(sinks)
    root.addHandler(handler)
    logging.getLogger("django.request").addHandler(report)
    yield
    root.removeHandler(handler)
    logging.getLogger("django.request").removeHandler(report)
    for each, level, disabled, propagate in before:
        each.setLevel(level)
        each.disabled, each.propagate = disabled, propagate


class Reporter(Transport):
    """Receives Sentry's events in place of Sentry."""

    def __init__(self, sinks: Sinks) -> None:
        super().__init__()
        self.sinks = sinks

    def capture_envelope(self, envelope: Envelope) -> None:
        self.sinks.add("Sentry", *(repr(item.payload.json) for item in envelope.items))


@contextmanager
def sentry(sinks: Sinks) -> Iterator[None]:
    """Run Sentry with its default settings, which include local variables, the request and breadcrumbs."""
    sentry_sdk.init(
        dsn="http://key@127.0.0.1/1",
        transport=Reporter(sinks),
        auto_enabling_integrations=False,
        integrations=[DjangoIntegration(), CeleryIntegration()],
    )
    yield
    sentry_sdk.get_global_scope().set_client(None)


@contextmanager
def warned(sinks: Sinks) -> Iterator[None]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    sinks.add("warnings", *(f"{each} {each.message!r}" for each in caught))


@contextmanager
def receivers(sinks: Sinks) -> Iterator[None]:
    """Collect what each signal passes to its receivers."""

    def look(sender: Any, **kwargs: Any) -> None:
        sinks.add("what signals carry", sender, kwargs, vars(kwargs["account"]))

    every = [value for name, value in vars(signals).items() if name.startswith("account_")]
    for signal in every:
        signal.connect(look)
    yield
    for signal in every:
        signal.disconnect(look)


def printed(text: io.StringIO) -> str:
    """Return what was written since the last call, and forget it."""
    said = text.getvalue()
    text.seek(0)
    text.truncate()
    return said
