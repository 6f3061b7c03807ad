"""Sync calls of the MCP server need no event loop, and disturb nothing that shares their thread."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
import requests
from django.db import connection
from django.test import Client, override_settings

from ontraport_connect.exceptions import OntraportMisconfigured
from ontraport_connect.models import OntraportAccount
from ontraport_connect.refreshing import one_account
from tests.support import ontraport
from tests.support.linked import key_account, linked_account, person
from tests.support.servers import Process, Sandbox

pytestmark = pytest.mark.django_db(transaction=True)

Environ = Callable[..., dict[str, str]]
GREEN_SITE = "from gevent import monkey; monkey.patch_all(); from tests.support.green_site import serve; serve()"


@pytest.fixture(autouse=True)
def configured(sandbox: Sandbox) -> Iterator[None]:
    with override_settings(**ontraport.settings_for(sandbox.url)):
        yield


@pytest.fixture
def account() -> OntraportAccount:
    return key_account(person("maya"))


@pytest.fixture
def environ(sandbox: Sandbox, child_environ: Environ) -> dict[str, str]:
    """Without coverage, which takes one greenlet for another."""
    settings = {**ontraport.settings_for(sandbox.url), "ROOT_URLCONF": "tests.support.green_site"}
    return {name: value for name, value in child_environ(**settings).items() if not name.startswith("COVERAGE_")}


@pytest.fixture
def asgi_site(environ: dict[str, str], tmp_path: Path) -> Iterator[str]:
    command = ("-m", "uvicorn", "--port", "0", "--lifespan", "off", "tests.support.asgi_site:application")
    environ = {**environ, "TEST_SETTINGS": environ["TEST_SETTINGS"].replace("green_site", "asgi_site")}
    process = Process(sys.executable, *command, log=tmp_path / "log", environ=environ)
    yield process.wait_for_line(r"running on (http://[\d.:]+)")[1]
    process.stop()
    assert "Traceback" not in process.output, process.output


def test_under_asgi_sync_and_async_views_call_at_once(
    sandbox: Sandbox, account: OntraportAccount, asgi_site: str
) -> None:
    """https://github.com/django/channels/issues/1491: each waited for the thread that the other held."""
    sandbox.set(fault="slow", fault_target="mcp", fault_seconds=0.2)
    urls = [f"{asgi_site}/{kind}/?uid={account.uid}" for kind in ("sync", "async")] * 16
    with ThreadPoolExecutor(32) as threads:
        answers = list(threads.map(lambda url: requests.get(url, timeout=60), urls))
    assert [(answer.status_code, answer.json()) for answer in answers] == [(200, {"count": 21})] * 32


@pytest.fixture
def green_site(environ: dict[str, str], tmp_path: Path) -> Iterator[str]:
    process = Process(sys.executable, "-W", "ignore", "-c", GREEN_SITE, log=tmp_path / "log", environ=environ)
    port = process.wait_for_line(r"^Listening on (\d+)")[1]
    yield f"http://127.0.0.1:{port}"
    process.stop()
    assert "Traceback" not in process.output, process.output


def test_under_gevent_calls_work_and_other_pages_are_served_meanwhile(
    sandbox: Sandbox, account: OntraportAccount, green_site: str
) -> None:
    """With an event loop in the greenlets' own thread, all calls and most other pages failed with SynchronousOnlyOperation."""
    sandbox.set(fault="slow", fault_target="mcp", fault_seconds=0.5)
    calls, rows = [f"{green_site}/call/?uid={account.uid}"] * 10, [f"{green_site}/rows/"] * 10
    with ThreadPoolExecutor(20) as threads:
        pages = [
            threads.submit(requests.get, url, timeout=30) for pair in zip(calls, rows, strict=True) for url in pair
        ]
        answers = [page.result() for page in as_completed(pages)]
    assert [answer.status_code for answer in answers] == [200] * 20
    assert [answer.json() for answer in answers] == [{"count": 20}] * 10 + [{"count": 21}] * 10


def test_under_gevent_people_come_back_from_ontraport_at_once(green_site: str) -> None:
    """https://github.com/benoitc/gunicorn/issues/3070: with a loop of another greenlet running, their codes were spent in vain."""
    visits = []
    for number in range(6):
        client = Client()
        client.force_login(person(f"person-{number}"))
        visits.append((urlsplit(ontraport.consent(ontraport.press_connect(client))), client.cookies))

    def come_back(visit: Any) -> str:
        callback, cookies = visit
        url = f"{green_site}{callback.path}?{callback.query}"
        values = {name: morsel.value for name, morsel in cookies.items()}
        return requests.get(url, cookies=values, allow_redirects=False, timeout=60).headers["Location"]

    with ThreadPoolExecutor(6) as threads:
        assert set(threads.map(come_back, visits)) == {"/ontraport/"}
    assert OntraportAccount.objects.count() == 6


def test_under_gevent_a_401_is_one_refresh_and_one_retry(sandbox: Sandbox, green_site: str) -> None:
    account = linked_account(person("tomas"), sandbox)
    token = account.access_token.reveal()
    one_account.refresh(account)
    account.access_token = token
    account.save()
    assert requests.get(f"{green_site}/call/?uid={account.uid}", timeout=30).json() == {"count": 21}
    assert sandbox.state()["counts"]["token:refresh_token"] == 2


ONE_CALL = """
import django
django.setup()
from ontraport_connect.models import OntraportAccount
account = OntraportAccount.objects.get()
print(account.mcp("count_objects", objectID="0"))
"""


@pytest.mark.parametrize("first", ["", "from gevent import monkey; monkey.patch_all()"], ids=["threads", "gevent"])
def test_a_process_that_has_called_ends_quietly(account: OntraportAccount, environ: dict[str, str], first: str) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", first + ONE_CALL],
        env=environ,
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert (done.stdout, done.stderr, done.returncode) == ("{'count': 21}\n", "", 0)


SYNC_CALLS: list[tuple[Callable[[OntraportAccount], object], str]] = [
    (lambda account: account.mcp("count_objects"), "await account.amcp()"),
    (lambda account: account.mcp_tools(), "await account.amcp_tools()"),
    (lambda account: account.rest("GET", "objects"), "await account.arest()"),
    (lambda account: list(account.rest_pages("objects", objectID=0)), "async for"),
    (lambda account: account.rest_pages("objects", objectID=0).total(), "await pages.atotal()"),
    (lambda account: requests.get("http://127.0.0.1:1/", auth=account.auth(), timeout=1), "account.httpx_auth()"),
    (lambda account: httpx.Client(auth=account.httpx_auth()).get("http://127.0.0.1:1/"), "httpx.AsyncClient"),
]


@pytest.mark.parametrize(("call", "twin"), SYNC_CALLS, ids=[twin for _, twin in SYNC_CALLS])
def test_a_sync_call_in_a_running_loop_names_its_async_twin(
    account: OntraportAccount, call: Callable[[OntraportAccount], object], twin: str
) -> None:
    """For example in a cell of a notebook."""

    async def cell() -> object:
        return call(account)

    with pytest.raises(OntraportMisconfigured) as raised:
        asyncio.run(cell())
    assert (raised.value.code, twin in str(raised.value)) == ("running_loop", True)


def test_who_allows_blocking_calls_in_a_loop_has_them(
    account: OntraportAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Django's variable for its own sync calls allows ours as well."""
    monkeypatch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")

    async def cell() -> object:
        try:
            return account.mcp("count_objects", objectID="0")
        finally:
            connection.close()  # Django keeps one of its own for each loop

    assert asyncio.run(cell()) == {"count": 21}
