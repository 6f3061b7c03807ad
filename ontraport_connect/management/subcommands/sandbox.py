"""``sandbox``: starts the stand-in for Ontraport, for this site."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any
from urllib.parse import urlsplit

from django.core.management.base import CommandError, CommandParser
from django.urls import NoReverseMatch, reverse

from ontraport_connect import sandbox
from ontraport_connect.conf import SANDBOX_CLIENT, conf
from ontraport_connect.management.reports import FAILED, USAGE, Progress, Report

HELP = (
    "Start a stand-in for Ontraport, to develop against without credentials, until Ctrl-C. For a site with"
    ' ONTRAPORT_ENDPOINTS = "sandbox".'
)
GRACE = 10.0
"""Seconds that the stand-in has to end after it was asked to."""


def add_arguments(parser: CommandParser) -> None:
    parser.add_argument("--host", help="address to listen on (default: that of ONTRAPORT_SANDBOX_URL)")
    parser.add_argument("--port", type=int, help="port to listen on (default: that of ONTRAPORT_SANDBOX_URL)")
    parser.add_argument("--https", action="store_true", help="serve https, with a certificate of a private CA")
    parser.add_argument("--database", help="SQLite file that keeps the grants (default: a temporary one)")
    parser.add_argument("--log", action="store_true", help="print each request, without its query")


def run(options: Mapping[str, Any], progress: Progress) -> Report:
    if find_spec("oauth2_provider") is None:
        raise CommandError(
            "The stand-in is an extra: pip install 'django-ontraport-connect[sandbox]'", returncode=USAGE
        )
    command = [sys.executable, "-m", sandbox.__name__, *_arguments(options)]
    with subprocess.Popen(command, env=_environment()) as process:  # noqa: S603  # ours, with this site's settings
        try:
            status = process.wait()
        except BaseException:  # Ctrl-C and SIGTERM: the stand-in ends with us
            process.terminate()
            try:
                process.wait(GRACE)
            except subprocess.TimeoutExpired:
                process.kill()
            raise
    return Report(lines=[], data={"status": status}, problem="The stand-in has ended." if status else "", status=FAILED)


def after_a_stop(options: Mapping[str, Any], last: str) -> str:
    """Say nothing: it runs until it is stopped."""
    return ""


def _arguments(options: Mapping[str, Any]) -> list[str]:
    """Return the arguments of the stand-in: where to listen, and where this site's people come back to."""
    parts = urlsplit(conf.ONTRAPORT_SANDBOX_URL)
    port = options["port"] if options["port"] is not None else parts.port
    arguments = ["--host", options["host"] or parts.hostname or "127.0.0.1"]
    arguments += ["--port", str(port)] if port is not None else []
    if (
        options["port"] is None and options["host"] is not None
    ):  # the address of browsers is another than where it listens
        arguments += ["--url", conf.ONTRAPORT_SANDBOX_URL]
    if options["host"] is not None or conf.ONTRAPORT_SANDBOX_INTERNAL_URL != conf.ONTRAPORT_SANDBOX_URL:
        arguments += ["--internal-url", conf.ONTRAPORT_SANDBOX_INTERNAL_URL]
    for uri in redirect_uris():
        arguments += ["--redirect-uri", uri]
    arguments += ["--database", options["database"]] if options["database"] else []
    return arguments + [f"--{flag}" for flag in ("https", "log") if options[flag]]


def redirect_uris() -> list[str]:
    """Return the callback's addresses: the one that is set, and those on a laptop, of which any port is accepted."""
    uris = [conf.ONTRAPORT_REDIRECT_URI] if conf.ONTRAPORT_REDIRECT_URI else []
    try:
        path = reverse("ontraport_connect:callback")
    except NoReverseMatch:  # there is a check for that
        return uris
    return [*uris, f"http://127.0.0.1{path}", f"http://localhost{path}"]


def _environment() -> dict[str, str]:
    """Return the environment of the stand-in, which is a Django project of its own, with this site's OAuth client."""
    environment = {name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}
    if conf.ONTRAPORT_CLIENT_ID in {None, SANDBOX_CLIENT[0]}:
        return environment
    return environment | {
        "SANDBOX_CLIENT_ID": str(conf.ONTRAPORT_CLIENT_ID),
        "SANDBOX_CLIENT_SECRET": conf.ONTRAPORT_CLIENT_SECRET or "",
    }
