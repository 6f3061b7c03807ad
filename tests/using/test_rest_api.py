"""Ontraport's REST API with a key pair: one call, and lists of any length."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.db import transaction
from django.test import override_settings

from ontraport_connect.exceptions import (
    OntraportMisconfigured,
    OntraportRejected,
    OntraportUnavailable,
    ReconnectRequired,
)
from ontraport_connect.models import Method, OntraportAccount, Status
from ontraport_connect.refreshing import one_account
from tests.support import ontraport
from tests.support.answering import Answering, Reply, as_json, envelope
from tests.support.linked import key_account, person
from tests.support.servers import Sandbox

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def configured(sandbox: Sandbox) -> Iterator[None]:
    with override_settings(**ontraport.settings_for(sandbox.url)):
        yield


@pytest.fixture
def account() -> OntraportAccount:
    return key_account(person("maya"))


def served_by(server: Answering) -> Any:
    return override_settings(ONTRAPORT_REST_URL=f"{server.url}/1/", ONTRAPORT_MCP_URL=server.url)


def test_a_call_returns_the_envelope(account: OntraportAccount) -> None:
    answer = account.rest("GET", "objects", params={"objectID": 0, "search": "Lucía"})
    assert (answer["code"], answer["account_id"]) == (0, 187157)
    assert [contact["firstname"] for contact in answer["data"]] == ["Lucía"]
    assert account.rest("GET", "/objects?objectID=0&range=1")["data"][0]["id"] == "1"


def test_the_same_in_async_code(account: OntraportAccount) -> None:
    answer = async_to_sync(account.arest)("GET", "objects", params={"objectID": 0, "range": 3})
    assert len(answer["data"]) == 3


def test_a_body_goes_as_json_with_the_pair_in_two_headers(account: OntraportAccount) -> None:
    with Answering(lambda asked: envelope({"id": "22"})) as server, served_by(server):
        assert account.rest("POST", "Contacts", json={"firstname": "Zoë"})["data"] == {"id": "22"}
    (asked,) = server.asked
    assert (asked.method, asked.path, asked.body) == ("POST", "/1/Contacts", b'{"firstname": "Zo\\u00eb"}')
    assert (asked.headers["Api-Appid"], asked.headers["Api-Key"]) == ("2_187157_sandbox", "sandbox-key-owner")


@override_settings(ONTRAPORT_RATE_LIMIT=(30, 0.05))
def test_pages_are_fetched_when_they_are_asked_for(sandbox: Sandbox, account: OntraportAccount) -> None:
    sandbox.set(contacts=120, rate_limit=1000)
    pages = account.rest_pages("objects", objectID=0)
    assert (pages.total(), pages.fetched, sandbox.state()["counts"]["rest"]) == (120, 0, 1)
    rows = iter(pages)
    first = [next(rows)["id"] for _ in range(50)]
    assert (pages.fetched, pages.position, sandbox.state()["counts"]["rest"]) == (50, 50, 2)
    assert first + [row["id"] for row in rows] == [str(number) for number in range(1, 121)]
    assert (pages.fetched, sandbox.state()["counts"]["rest"]) == (120, 4)


def test_pages_go_on_where_one_left_off(sandbox: Sandbox, account: OntraportAccount) -> None:
    pages = account.rest_pages("objects/", objectID=0, start=15, range=4)
    assert [len(page) for page in pages.pages()] == [4, 2]
    assert pages.position == 21
    assert list(account.rest_pages("objects", objectID=0, start=21, range=500)) == []


def test_pages_in_async_code(account: OntraportAccount) -> None:
    async def names() -> list[str]:
        return [row["id"] async for row in account.rest_pages("objects", objectID=0, range=10)]

    assert async_to_sync(names)() == [str(number) for number in range(1, 22)]


@pytest.mark.parametrize(
    ("reply", "error"),
    [(envelope({"not": "a list"}), OntraportRejected), (Reply(body=b"[]"), OntraportUnavailable)],
)
def test_what_is_no_list_has_no_pages(account: OntraportAccount, reply: Reply, error: type[Exception]) -> None:
    with Answering(lambda asked: reply) as server, served_by(server), pytest.raises(error):
        list(account.rest_pages("objects/meta"))


@pytest.mark.parametrize("data", [[], {}, {"count": None}, {"count": "many"}])
def test_a_total_that_ontraport_does_not_tell_is_said(account: OntraportAccount, data: object) -> None:
    with (
        Answering(lambda asked: envelope(data)) as server,
        served_by(server),
        pytest.raises(OntraportUnavailable) as raised,
    ):
        account.rest_pages("objects", objectID=0).total()
    assert raised.value.code == "nonsense"


VERDICTS: list[tuple[Reply | None, type[Exception], str]] = [
    (Reply(body=b"<h1>maintenance</h1>"), OntraportUnavailable, "nonsense"),
    (as_json(["no envelope"]), OntraportUnavailable, "nonsense"),
    (as_json({"code": 0}), OntraportUnavailable, "nonsense"),
    (Reply(status=400, body=b"Invalid condition."), OntraportRejected, "http_400"),
    (Reply(status=403), OntraportRejected, "http_403"),
    (Reply(status=404), OntraportRejected, "http_404"),
    (Reply(status=422), OntraportRejected, "http_422"),
    (Reply(status=302, headers={"Location": "https://elsewhere.example/"}), OntraportUnavailable, "http_302"),
    (Reply(status=500), OntraportUnavailable, "http_500"),
    (None, OntraportUnavailable, "cut"),
]


@pytest.mark.parametrize(("reply", "error", "code"), VERDICTS)
def test_each_answer_has_its_verdict_and_costs_one_request(
    account: OntraportAccount, reply: Reply | None, error: Any, code: str
) -> None:
    with Answering(lambda asked: reply) as server, served_by(server), pytest.raises(error) as raised:
        account.rest("GET", "objects", params={"objectID": 0})
    assert (raised.value.code, len(server.asked)) == (code, 1)
    assert "Invalid condition" not in str(raised.value)
    account.refresh_from_db()
    assert account.status == Status.CONNECTED


def test_a_429_is_waited_out_as_ontraport_says(account: OntraportAccount) -> None:
    replies = iter([Reply(status=429, headers={"X-Rate-Limit-Reset": "1"}), envelope([])])
    with Answering(lambda asked: next(replies)) as server, served_by(server):
        assert account.rest("GET", "objects")["data"] == []
    assert len(server.asked) == 2


def test_a_429_is_not_waited_out_for_longer_than_one_has_patience(account: OntraportAccount) -> None:
    limited = Reply(status=429, headers={"X-Rate-Limit-Reset": "30"})
    with Answering(lambda asked: limited) as server, served_by(server), pytest.raises(OntraportUnavailable) as raised:
        account.rest("GET", "objects", patience=5)
    assert (raised.value.code, len(server.asked)) == ("rate_limited", 1)
    assert 29 < (raised.value.retry_after or 0) <= 30


def test_a_refused_pair_is_suspected_and_the_caller_asked_to_come_back(account: OntraportAccount) -> None:
    """What becomes of it is decided by checks: see tests/linking/test_key_checks.py."""
    account.access_token = "revoked-in-ontraport"
    account.save()
    with pytest.raises(OntraportUnavailable) as raised:
        account.rest("GET", "objects", params={"objectID": 0})
    assert (raised.value.code, raised.value.retry_after) == ("key_refused", 60)
    assert (account.status, account.last_error) == (Status.CONNECTED, "key_refused")
    account.status = Status.NEEDS_RECONNECT
    with pytest.raises(ReconnectRequired) as marked:
        account.rest("GET", "objects", params={"objectID": 0})
    assert marked.value.account_uid == account.uid


def test_a_pair_that_was_replaced_meanwhile_is_not_suspected(account: OntraportAccount) -> None:
    stale = OntraportAccount.objects.get()
    OntraportAccount.objects.filter(pk=account.pk).update(version=account.version + 1)
    with Answering(lambda asked: Reply(status=401)) as server, served_by(server), pytest.raises(OntraportUnavailable):
        stale.rest("GET", "objects")
    assert OntraportAccount.objects.get().last_error == ""


@pytest.mark.postgresql
def test_a_row_that_the_caller_holds_is_checked_daily_all_the_same(
    account: OntraportAccount, caplog: pytest.LogCaptureFixture
) -> None:
    with Answering(lambda asked: Reply(status=401)) as server, served_by(server), transaction.atomic():
        held = OntraportAccount.objects.select_for_update().get()
        with pytest.raises(OntraportUnavailable):
            held.rest("GET", "objects")
    assert "could be made due" in caplog.text
    assert OntraportAccount.objects.get().last_error == ""


@pytest.mark.postgresql
def test_a_refused_pair_is_suspected_though_the_page_rolls_back(account: OntraportAccount) -> None:
    refused = Answering(lambda asked: Reply(status=401))
    with refused as server, served_by(server), pytest.raises(OntraportUnavailable), transaction.atomic():
        account.rest("GET", "objects")
    assert OntraportAccount.objects.get().last_error == "key_refused"


def test_an_account_linked_with_oauth_says_that_rest_takes_keys(account: OntraportAccount) -> None:
    account.method = Method.OAUTH
    with pytest.raises(OntraportRejected, match="API keys only") as raised:
        account.rest("GET", "objects")
    assert raised.value.code == "rest_takes_keys"


@pytest.mark.parametrize(
    "path",
    [
        "https://attacker.example/1/objects",
        "https://api.ontraport.com@attacker.example/",
        "http://127.0.0.1:1/1/objects",
        "https:\\\\attacker.example/",
        "objects\\..\\@attacker.example",
        "obj ects",
        "objécts",
        "objects\r\nHost: attacker.example",
        "http://attacker.example/",
    ],
)
def test_credentials_leave_for_the_configured_hosts_only(
    sandbox: Sandbox, account: OntraportAccount, path: str
) -> None:
    with pytest.raises((OntraportRejected, OntraportMisconfigured)) as raised:
        account.rest("GET", path)
    assert raised.value.code in {"destination", "insecure_url"}
    assert sandbox.state()["counts"]["rest"] == 0


@pytest.mark.parametrize("missing", ["app_id", "access_token"])
def test_an_account_without_credentials_asks_for_a_reconnect(account: OntraportAccount, missing: str) -> None:
    setattr(account, missing, None)
    with pytest.raises(ReconnectRequired) as raised:
        account.rest("GET", "objects")
    assert (raised.value.code, raised.value.account_uid) == ("no_credentials", account.uid)


def test_the_links_of_a_person_who_was_deactivated_are_not_used(account: OntraportAccount) -> None:
    tomas = person("tomas")
    tomas.is_active = False
    account.user = tomas
    with pytest.raises(OntraportRejected) as raised:
        account.rest("GET", "objects")
    assert raised.value.code == "inactive_user"
    account.user = None
    with pytest.raises(OntraportRejected):
        account.rest("GET", "objects")
    account.tenant = "harbour-street"
    assert account.rest("GET", "objects", params={"objectID": 0})["code"] == 0


def test_a_key_is_never_refreshed(sandbox: Sandbox, account: OntraportAccount) -> None:
    one_account.refresh(account)
    one_account.ensure_fresh(account)
    assert sandbox.state()["counts"]["token:refresh_token"] == 0
