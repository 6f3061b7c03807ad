"""The site of the soak: its Celery app, its one view, and a web server of threads (``python -m tests.soak.site PORT``).

Leases, pauses and the time before the end of a token are a tenth as long as they are, so that minutes show what hours would.
"""

from __future__ import annotations

import sys
import time
from contextlib import suppress
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import django
import requests

django.setup()

from celery import Celery  # noqa: E402 - Django must be set up first
from django.core.wsgi import get_wsgi_application  # noqa: E402
from django.db import transaction  # noqa: E402
from django.http import HttpRequest, HttpResponse  # noqa: E402
from django.urls import path  # noqa: E402

from ontraport_connect import refreshing  # noqa: E402
from ontraport_connect.conf import conf  # noqa: E402
from ontraport_connect.exceptions import OntraportError  # noqa: E402
from ontraport_connect.models import OntraportAccount  # noqa: E402
from ontraport_connect.refreshing import (  # noqa: E402
    circuit_breaker,
    claiming,
    leases,
    outcomes,
    recovery,
    spending,
)
from ontraport_connect.schedule import BEAT_SCHEDULE  # noqa: E402
from tests.support.servers import HOST  # noqa: E402

for module in (claiming, leases, recovery):
    vars(module)["TAKE_OVER_WITHIN"] = 12.0
for module in (leases, spending):
    vars(module)["SEND_WITHIN"] = 3.0
vars(leases)["SAVE_WITHIN"] = 6.0
vars(circuit_breaker)["PROBE_AFTER"] = 6.0
vars(outcomes)["FIRST_BACKOFF"], vars(outcomes)["LONGEST_BACKOFF"] = 3.0, 10.0

app = Celery("soak", set_as_current=False)
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks(["ontraport_connect"])
app.conf.beat_schedule = {name: {**entry, "schedule": 3.0} for name, entry in BEAT_SCHEDULE.items()}


class Failed(Exception):
    """The view fails, and its transaction is rolled back."""


def use(request: HttpRequest, how: str, pk: int) -> HttpResponse:
    """Use or refresh an account, as ``how`` says. The answer is 200, 409 for an error of ours, 502 for a call that Ontraport refused."""
    try:
        with suppress(Failed):
            return HttpResponse(status=WAYS[how](OntraportAccount.objects.get(pk=pk)) or 200)
    except OntraportError as error:
        return HttpResponse(error.code, status=409)
    return HttpResponse(status=200)


def call(account: Any) -> int:
    answer = requests.get(conf.ONTRAPORT_MCP_URL, auth=account.auth(), timeout=5)
    return 200 if answer.ok else 502


def fail_after_use(account: Any) -> None:
    with transaction.atomic():
        change(account)
        call(account)
        raise Failed


def fail_after_two_refreshes(account: Any) -> None:
    with transaction.atomic():
        change(account)
        refreshing.refresh(account)
        refreshing.refresh(account)
        raise Failed


def go_on_after_a_savepoint(account: Any) -> None:
    with transaction.atomic():
        with suppress(Failed), transaction.atomic():
            change(account)
            refreshing.refresh(account)
            raise Failed
        time.sleep(0.3)


def change(account: Any) -> None:
    account.label = "changed"
    account.save()


WAYS: dict[str, Any] = {
    "call": call,
    "refresh": refreshing.refresh,
    "fail": fail_after_use,
    "twice": fail_after_two_refreshes,
    "savepoint": go_on_after_a_savepoint,
}
urlpatterns = [path("<str:how>/<int:pk>", use)]


class Threads(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the name is the standard library's
        pass


if __name__ == "__main__":
    print("Ready", flush=True)
    make_server(HOST, int(sys.argv[1]), get_wsgi_application(), Threads, Quiet).serve_forever()
