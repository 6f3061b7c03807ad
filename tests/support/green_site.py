"""A site in a process that gevent has patched: all pages run as greenlets of one thread.

Under gunicorn: ``gunicorn -k gevent "django.core.wsgi:get_wsgi_application()"`` with this module as ``ROOT_URLCONF``.
"""

from __future__ import annotations

from typing import Any

from django.apps import apps
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, JsonResponse
from django.urls import include, path
from gevent import sleep
from gevent.pywsgi import WSGIServer


def accounts() -> Any:
    return apps.get_model("ontraport_connect", "OntraportAccount").objects


def call(request: HttpRequest) -> JsonResponse:
    """Call Ontraport with the account in the query."""
    return JsonResponse(accounts().get(uid=request.GET["uid"]).mcp("count_objects", objectID="0"))


def rows(request: HttpRequest) -> JsonResponse:
    """Use the ORM, with pauses in which other greenlets run."""
    counted = 0
    for _ in range(20):
        counted += accounts().count()
        sleep(0.01)
    return JsonResponse({"count": counted})


urlpatterns: list[Any] = [path("call/", call), path("rows/", rows)]


def serve() -> None:
    application = get_wsgi_application()
    urlpatterns.append(path("ontraport/", include("ontraport_connect.urls")))  # whose models need the settings
    server = WSGIServer(("127.0.0.1", 0), application, log=None)
    server.start()
    print(f"Listening on {server.server_port}", flush=True)
    server.serve_forever()
