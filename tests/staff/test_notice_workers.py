"""Real workers go on refreshing while a mail server never answers."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.accounts import linked, read, token_of
from tests.support.mail_server import mailer
from tests.support.notices import REDIRECT_URI, broken_account, people
from tests.support.servers import Valkey, wait_until
from tests.support.strict_server import StrictServer
from tests.support.workers import send, worker

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.postgresql]


def test_silent_mail_server_leaves_a_worker_for_refreshes(
    strict: StrictServer, valkey: Valkey, child_environ: Callable[..., dict[str, str]], tmp_path: Path
) -> None:
    """Two processes, two ended links and two rounds of beat held both processes for ever."""
    ended = [broken_account(person) for person in people(2)]
    account = linked("one")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(20)
        environ = child_environ(
            **strict.settings,
            **mailer("smtp", host="127.0.0.1", port=silent.getsockname()[1]),
            ONTRAPORT_NOTIFY=True,
            ONTRAPORT_REDIRECT_URI=REDIRECT_URI,
            CELERY_BROKER_URL=valkey.url,
            CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP=True,
            CELERY_WORKER_ENABLE_REMOTE_CONTROL=False,
        )
        with worker(environ, tmp_path / "log", "--concurrency", "2"):
            send(valkey, "send_notices")
            connection, _ = silent.accept()
            with connection:
                send(valkey, "send_notices")
                send(valkey, "refresh_expiring_tokens")
                wait_until(
                    lambda: token_of(account) == "a.one.1", "a refresh while the mail server is silent", timeout=8
                )
                silent.close()
            wait_until(
                lambda: [read(each).notified_at for each in ended] == [None, None],
                "the people to be left for a later round",
            )
