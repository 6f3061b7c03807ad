"""Sites with other apps and servers that a site may have: impersonation, histories, imports, a schedule in the database, uWSGI."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests
from django.conf import settings
from django.test import Client, override_settings
from django.utils import timezone

from ontraport_connect.models import OntraportAccount
from tests.support import ontraport
from tests.support.databases import sqlite
from tests.support.linked import person
from tests.support.pages import ACCOUNTS
from tests.support.servers import HOST, PROJECT, Process, Sandbox, free_port

NEIGHBOURS = (
    "auditlog",
    "django_celery_beat",
    "django_celery_results",
    "django_su",
    "hijack",
    "import_export",
    "loginas",
    "simple_history",
)

for package in (*NEIGHBOURS, "pyuwsgi", "unfold"):
    pytest.importorskip(package, reason=f"{package} is not installed, as it is by `tox run -e cookiecutter`")


def test_other_apps_read_copy_and_schedule_what_is_ours(sandbox: Sandbox, tmp_path: Path) -> None:
    changes = {
        "INSTALLED_APPS": ["unfold", *settings.INSTALLED_APPS, *NEIGHBOURS],
        "MIDDLEWARE": [*settings.MIDDLEWARE, "hijack.middleware.HijackUserMiddleware"],
        "AUTHENTICATION_BACKENDS": ["django.contrib.auth.backends.ModelBackend", "django_su.backends.SuBackend"],
        "ROOT_URLCONF": "tests.support.neighbours",
        "DATABASES": {"default": sqlite(tmp_path / "site.sqlite3")},
    }
    environ = {**os.environ, "TEST_SETTINGS": json.dumps(changes)}
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.neighbours", sandbox.url],
        check=False,
        cwd=PROJECT,
        env=environ,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "hijack": ["/ontraport/problem/other_owner/", 0, "/ontraport/", True],
        "acted": ["support as maya"] * 4,
        "history": ["int", True],
        "audit": [True, False],
        "imported": [["[secret]", "[secret]"], 1, {"count": 21}],
        "beat": [False, True],
        "results": [True, False],
        "unfold": [200, 200, 200, 200, 200, 200, 302, True, False],
    }


@pytest.fixture
def uwsgi(sandbox: Sandbox, child_environ: Callable[..., dict[str, str]], tmp_path: Path) -> Iterator[str]:
    """uWSGI without ``enable-threads``, as it is by default: a thread stands still as soon as its request has ended."""
    settings = {**ontraport.settings_for(sandbox.url), "ROOT_URLCONF": "tests.support.threadless_site"}
    port = free_port()
    command = ("--master", "--processes", "2", "--die-on-term", "--module", "django.core.wsgi:get_wsgi_application()")
    process = Process(
        *(Path(sys.executable).with_name("uwsgi"), "--http-socket", f"{HOST}:{port}", *command),
        log=tmp_path / "log",
        environ={name: value for name, value in child_environ(**settings).items() if not name.startswith("COVERAGE_")},
    )
    process.wait_for_line("spawned uWSGI worker 2")
    yield f"http://{HOST}:{port}"
    process.stop()
    assert "Traceback" not in process.output, process.output


@pytest.mark.django_db(transaction=True)
def test_under_uwsgi_without_threads_people_link_and_pages_call_and_refresh(sandbox: Sandbox, uwsgi: str) -> None:
    """https://github.com/defrex/django-after-response/issues/8"""
    client = Client()
    client.force_login(person("maya"))
    with override_settings(**ontraport.settings_for(sandbox.url)):
        callback = urlsplit(ontraport.consent(ontraport.press_connect(client)))
    cookies = {name: morsel.value for name, morsel in client.cookies.items()}
    address = f"{uwsgi}{callback.path}?{callback.query}"
    assert requests.get(address, cookies=cookies, allow_redirects=False, timeout=60).headers["Location"] == ACCOUNTS
    account = OntraportAccount.objects.get()
    for page in ("call", "atomic"):
        OntraportAccount.objects.update(expires_at=timezone.now() - timedelta(minutes=1))
        answers = [requests.get(f"{uwsgi}/{page}/?uid={account.uid}", timeout=60) for _ in range(3)]
        assert [(answer.status_code, answer.json()) for answer in answers] == [(200, {"count": 21})] * 3
    assert sandbox.state()["counts"]["token:refresh_token"] == 2
