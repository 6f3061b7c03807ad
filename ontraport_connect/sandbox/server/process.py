"""Serves the stand-in for Ontraport, until it is stopped with SIGTERM or Ctrl-C."""

from __future__ import annotations

import argparse
import os
import signal
import socket
import ssl
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn
from urllib.parse import urlsplit
from wsgiref.types import WSGIApplication

import django
from django.core.management import call_command
from django.core.servers.basehttp import ThreadedWSGIServer, WSGIRequestHandler
from django.core.wsgi import get_wsgi_application

from . import certificates, connection

DEFAULT_PORT = 8001


class RequestHandler(WSGIRequestHandler):
    # wsgiref sends headers and body separately. Nagle's algorithm would delay the body by 40 ms on a kept-alive connection.
    disable_nagle_algorithm = True
    logs_requests = False

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        if self.logs_requests:
            status = args[1] if len(args) > 1 else ""
            path = getattr(self, "path", "").partition("?")[0]
            sys.stderr.write(f"{self.log_date_time_string()} {self.command} {path} {status}\n")


class SandboxServer(ThreadedWSGIServer):
    request_queue_size = 256

    def serve(self, application: WSGIApplication) -> None:
        self.set_app(application)
        self.serve_forever()

    def finish_request(self, request: Any, client_address: Any) -> None:
        connection.served.socket = request
        super().finish_request(request, client_address)

    def get_request(self) -> tuple[socket.socket, Any]:
        accepted, address = super().get_request()
        if isinstance(accepted, ssl.SSLSocket):
            accepted.settimeout(10)  # for the handshake, which is made by the first read in a thread of its own
        return accepted, address

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of clients that break off, or that refuse our certificate."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m ontraport_connect.sandbox", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=DEFAULT_PORT, help="0 picks a free one (default: %(default)s)")
    parser.add_argument("--url", help="the address that browsers know it by, where that is another")
    parser.add_argument("--internal-url", help="the address that the site knows it by, where that is another")
    parser.add_argument("--https", action="store_true", help="serve https, with a certificate of a private CA")
    parser.add_argument("--database", type=Path, help="SQLite file (default: one in a fresh temporary directory)")
    parser.add_argument(
        "--redirect-uri",
        action="append",
        default=[],
        metavar="URI",
        help="one more redirect URI of the seeded clients; may be repeated",
    )
    parser.add_argument("--log", action="store_true", help="log each request, without its query")
    return parser.parse_args(argv)


def hosts(options: argparse.Namespace) -> list[str]:
    """Return the hosts that the stand-in is known by, as they are in the header Host."""
    named = [options.host, *(urlsplit(url or "").hostname for url in (options.url, options.internal_url))]
    return [f"[{host}]" if ":" in host else host for host in named if host]


class Stopped(BaseException):
    """A signal asked the process to end."""


def ignore(number: int, frame: object) -> None:
    """Ignore a signal. With ``SIG_IGN`` Python complains of one that has arrived already, as Ctrl-C and SIGTERM do together."""


def stop(signum: int, frame: FrameType | None) -> NoReturn:
    for each in (
        signal.SIGINT,
        signal.SIGTERM,
    ):  # Ctrl-C reaches this process and the command that started it, which asks once more
        signal.signal(each, ignore)
    raise Stopped


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until a signal comes. ``SANDBOX_CLIENT_ID`` and ``SANDBOX_CLIENT_SECRET`` in the environment name one more client."""
    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    options = parse_arguments(argv)
    RequestHandler.logs_requests = options.log
    try:
        server = SandboxServer((options.host, options.port), RequestHandler)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        sys.stderr.write(
            f"Sandbox: cannot listen on {options.host}:{options.port}: {reason}. Choose another address with --port or --host.\n"
        )
        return 1
    with suppress(Stopped), ExitStack() as stack:
        stack.callback(server.server_close)
        directory = tempfile.TemporaryDirectory(prefix="ontraport-sandbox-", ignore_cleanup_errors=True)
        folder = Path(stack.enter_context(directory))
        origin = options.url or f"{'https' if options.https else 'http'}://{options.host}:{server.server_port}"
        os.environ.update(
            DJANGO_SETTINGS_MODULE=f"{__package__}.settings",
            SANDBOX_DATABASE=str(options.database or folder / "sandbox.sqlite3"),
            SANDBOX_ORIGIN=origin.rstrip("/"),
            SANDBOX_HOSTS=" ".join(hosts(options)),
        )
        bundle = serve_https(server, folder, options.host) if options.https else None
        django.setup()
        call_command("migrate", verbosity=0, interactive=False)
        call_command(
            "seed",
            redirect_uris=options.redirect_uri,
            client_id=os.environ.get("SANDBOX_CLIENT_ID", ""),
            client_secret=os.environ.get("SANDBOX_CLIENT_SECRET", ""),
        )
        application = get_wsgi_application()
        if bundle:
            sys.stdout.write(f"CA certificate: {bundle}\n")
        sys.stdout.write(f"Sandbox ready at {origin.rstrip('/')}/\n")
        sys.stdout.flush()
        server.serve(application)
    return 0


def serve_https(server: SandboxServer, folder: Path, host: str) -> Path:
    """Make the server speak https, and return the path of the CA's certificate."""
    bundle, chain = certificates.write(folder, list(dict.fromkeys([host, "127.0.0.1", "localhost"])))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain)
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    return bundle
