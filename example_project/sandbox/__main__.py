"""Start the sandbox: ``python -m example_project.sandbox --port 8001``."""

import argparse
import os
import signal
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import FrameType
from wsgiref.types import WSGIApplication

import django
from django.core.management import call_command
from django.core.servers.basehttp import ThreadedWSGIServer, WSGIRequestHandler
from django.core.wsgi import get_wsgi_application


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


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m example_project.sandbox", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=8001, help="0 picks a free one (default: %(default)s)")
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


def stop(signum: int, frame: FrameType | None) -> None:
    sys.exit(0)


def main(argv: Sequence[str] | None = None) -> int:
    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    options = parse_arguments(argv)
    RequestHandler.logs_requests = options.log
    try:
        server = SandboxServer((options.host, options.port), RequestHandler)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        sys.stderr.write(f"Sandbox: cannot listen on {options.host}:{options.port}: {reason}\n")
        return 1
    with ExitStack() as stack:
        stack.callback(server.server_close)
        database = options.database
        if database is None:
            directory = tempfile.TemporaryDirectory(prefix="ontraport-sandbox-", ignore_cleanup_errors=True)
            database = Path(stack.enter_context(directory)) / "sandbox.sqlite3"
        origin = f"http://{options.host}:{server.server_port}"
        os.environ.update(
            DJANGO_SETTINGS_MODULE="example_project.sandbox.settings",
            SANDBOX_DATABASE=str(database),
            SANDBOX_ORIGIN=origin,
        )
        django.setup()
        call_command("migrate", verbosity=0, interactive=False)
        call_command("seed", redirect_uris=options.redirect_uri)
        application = get_wsgi_application()
        sys.stdout.write(f"Sandbox ready at {origin}/\n")
        sys.stdout.flush()
        server.serve(application)
    return 0


if __name__ == "__main__":
    sys.exit(main())
