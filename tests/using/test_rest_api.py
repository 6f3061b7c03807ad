"""Calling Ontraport's REST API with a key pair."""

from __future__ import annotations

import enum
import json
import threading
from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth import get_user_model
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
from tests.support.answering import Answering, Asked, Reply, as_json, envelope
from tests.support.linked import key_account, person
from tests.support.servers import Sandbox, free_port

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


VERDICTS: list[tuple[Reply | None, type[Exception], str]] = [
    (Reply(body=b"<h1>maintenance</h1>"), OntraportUnavailable, "nonsense"),
    (as_json(["no envelope"]), OntraportUnavailable, "nonsense"),
    (as_json({"message": "no envelope"}), OntraportUnavailable, "nonsense"),
    (Reply(status=400, body=b"Invalid condition."), OntraportRejected, "http_400"),
    (Reply(status=403), OntraportRejected, "http_403"),
    (Reply(status=404), OntraportRejected, "http_404"),
    (Reply(status=422), OntraportRejected, "http_422"),
    (Reply(status=302, headers={"Location": "https://elsewhere.example/"}), OntraportRejected, "redirect"),
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


@pytest.mark.server_database
def test_a_row_that_the_caller_holds_is_checked_daily_all_the_same(
    account: OntraportAccount, caplog: pytest.LogCaptureFixture
) -> None:
    with Answering(lambda asked: Reply(status=401)) as server, served_by(server), transaction.atomic():
        held = OntraportAccount.objects.select_for_update().get()
        with pytest.raises(OntraportUnavailable):
            held.rest("GET", "objects")
    assert "could be made due" in caplog.text
    assert OntraportAccount.objects.get().last_error == ""


@pytest.mark.server_database
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


def test_the_links_of_a_person_who_was_deleted_since_they_were_read_are_not_used(account: OntraportAccount) -> None:
    """As in a receiver of ``post_delete``, or in a task that has read the link before."""
    read = OntraportAccount.objects.get()
    get_user_model().objects.all().delete()
    with pytest.raises(OntraportRejected) as raised:
        read.rest("GET", "objects")
    assert raised.value.code == "inactive_user"
    account.tenant = "harbour-street"
    assert account.rest("GET", "objects", params={"objectID": 0})["code"] == 0


def test_a_key_is_never_refreshed(sandbox: Sandbox, account: OntraportAccount) -> None:
    one_account.refresh(account)
    one_account.ensure_fresh(account)
    assert sandbox.state()["counts"]["token:refresh_token"] == 0


WITHOUT_DATA = [("DELETE", "object"), ("POST", "task/complete"), ("PUT", "transaction/convertToDecline")]


@pytest.mark.parametrize(("method", "path"), WITHOUT_DATA)
def test_a_success_without_data_is_a_success(account: OntraportAccount, method: str, path: str) -> None:
    """A caller that is told to try later would repeat the action."""
    with Answering(lambda asked: as_json({"code": 0, "account_id": 50})) as server, served_by(server):
        assert account.rest(method, path, params={"id": 1}) == {"code": 0, "account_id": 50}
    assert [asked.method for asked in server.asked] == [method]


class Kind(enum.StrEnum):
    CONTACT = "0"


class Mixed(str, enum.Enum):  # noqa: UP042  # the older kind, whose str() is not its value
    CONTACT = "0"


CONDITION = [{"field": {"field": "email"}, "op": "=", "value": {"value": "zoë@example.com"}}]
PARAMS: list[tuple[Any, dict[str, str]]] = [
    ({"condition": CONDITION}, {"condition": json.dumps(CONDITION)}),
    ({"condition": {"a": 1}}, {"condition": '{"a": 1}'}),
    ({"condition": "[]"}, {"condition": "[]"}),
    ({"ids": [1, 2], "listFields": ("id", "email")}, {"ids": "1,2", "listFields": "id,email"}),
    ({"performAll": True, "count": False, "search": None}, {"performAll": "true", "count": "false"}),
    ({"objectID": 0, "price": 2.5, "search": "Lucía & Co"}, {"objectID": "0", "price": "2.5", "search": "Lucía & Co"}),
    ({"objectID": Kind.CONTACT}, {"objectID": "0"}),
    ({"objectID": Mixed.CONTACT}, {"objectID": "0"}),
]


@pytest.mark.parametrize(("given", "sent"), PARAMS)
def test_parameters_go_out_as_ontraport_reads_them(account: OntraportAccount, given: Any, sent: Any) -> None:
    with Answering(lambda asked: envelope([])) as server, served_by(server):
        account.rest("GET", "objects", params=given)
        account.rest("POST", "Webhook/subscribe", form=given)
    query, form = urlsplit(server.asked[0].path).query, server.asked[1].body.decode()
    assert dict(parse_qsl(query)) == dict(parse_qsl(form)) == sent
    assert server.asked[1].headers["Content-Type"] == "application/x-www-form-urlencoded"


UNSENDABLE: list[dict[str, Any]] = [
    {"params": {"since": date(2026, 1, 1)}},
    {"params": {"field": {"a": 1}}},
    {"params": {"ids": [1, None]}},
    {"params": {"ids": [[1]]}},
    {"params": {"id": b"1"}},
    {"params": {"price": float("nan")}},
    {"params": {"condition": [date(2026, 1, 1)]}},
    {"form": {"price": Decimal("1.5")}},
    {"json": {"since": date(2026, 1, 1)}},
    {"json": {"price": Decimal("1.5")}},
    {"json": {}, "form": {}},
]


@pytest.mark.parametrize("arguments", UNSENDABLE, ids=str)
def test_what_cannot_be_encoded_is_said_before_anything_is_sent(
    sandbox: Sandbox, account: OntraportAccount, arguments: dict[str, Any]
) -> None:
    with pytest.raises(TypeError):
        account.rest("POST", "objects", **arguments)
    assert sandbox.state()["counts"]["rest"] == 0


@pytest.mark.parametrize(
    "arguments",
    [
        {"path": "objects?objectID=0", "params": {"objectID": 0}},
        {"path": "objects#top"},
        {"path": "objects", "json": {"price": float("nan")}},
        {"path": "objects", "timeout": 0},
    ],
    ids=str,
)
def test_what_makes_no_sense_is_said_before_anything_is_sent(
    sandbox: Sandbox, account: OntraportAccount, arguments: dict[str, Any]
) -> None:
    with pytest.raises(ValueError, match=r"is in the path|fragment|Out of range|positive"):
        account.rest("GET", **arguments)
    assert sandbox.state()["counts"]["rest"] == 0


@pytest.mark.parametrize(
    ("path", "sent"),
    [
        ("objects?objectID=0&search=Lagos", "/1/objects?objectID=0&search=Lagos&start=0"),
        ("objects?", "/1/objects?start=0"),
        ("/1/objects", "/1/objects?start=0"),
        ("/objects", "/1/objects?start=0"),
    ],
)
def test_a_path_may_bring_a_query_and_the_version(account: OntraportAccount, path: str, sent: str) -> None:
    with Answering(lambda asked: envelope([])) as server, served_by(server):
        account.rest("GET", path, params={"start": 0})
    assert server.asked[0].path == sent


SAID: list[tuple[bytes, str]] = [
    (b"Invalid Contact ID", "Invalid Contact ID"),
    (b" Save\n\x00failed! \x1b[1m ", "Save failed! [1m"),
    (b"x" * 500, "x" * 200),
    (b"\xff\xfe", ""),
    (b"No such key: sandbox-key-owner", ""),
    (b"", ""),
]


@pytest.mark.parametrize(("body", "said"), SAID)
def test_what_ontraport_said_of_a_refusal_is_kept_beside_the_message(
    account: OntraportAccount, body: bytes, said: str
) -> None:
    """Nothing is kept of an answer that repeats the credentials."""
    with (
        Answering(lambda asked: Reply(status=400, body=body)) as server,
        served_by(server),
        pytest.raises(OntraportRejected) as raised,
    ):
        account.rest("POST", "objects", json={})
    assert (raised.value.said, str(raised.value)) == (said, "Ontraport refused the request with status 400.")


UNKNOWN: list[tuple[str, Reply | None, bool]] = [
    ("POST", None, True),
    ("put", Reply(status=504), True),
    ("DELETE", Reply(body=b"Save failed!"), True),
    ("GET", None, False),
    ("get", Reply(status=500), False),
]


@pytest.mark.parametrize(("method", "reply", "unknown"), UNKNOWN)
def test_a_write_without_an_answer_says_that_its_outcome_is_unknown(
    account: OntraportAccount, method: str, reply: Reply | None, unknown: bool
) -> None:
    with Answering(lambda asked: reply) as server, served_by(server), pytest.raises(OntraportUnavailable) as raised:
        account.rest(method, "transaction/processManual")
    assert (raised.value.outcome_unknown, len(server.asked)) == (unknown, 1)


def test_a_write_that_was_not_sent_has_no_unknown_outcome(account: OntraportAccount) -> None:
    with (
        override_settings(ONTRAPORT_REST_URL=f"http://127.0.0.1:{free_port()}/1/"),
        pytest.raises(OntraportUnavailable) as raised,
    ):
        account.rest("POST", "transaction/processManual")
    assert (raised.value.code, raised.value.outcome_unknown) == ("connection", False)


def test_a_call_may_take_longer_or_shorter_than_the_site_allows(account: OntraportAccount) -> None:
    answered = threading.Event()

    def late(asked: Asked) -> Reply:
        answered.wait(0.4)
        return envelope([])

    with override_settings(ONTRAPORT_TIMEOUT=(3, 0.1)), Answering(late) as server, served_by(server):
        assert account.rest("POST", "transaction/processManual", timeout=10)["data"] == []
        with pytest.raises(OntraportUnavailable) as raised:
            account.rest("POST", "transaction/processManual")
    assert (raised.value.code, raised.value.outcome_unknown) == ("timeout", True)
    with Answering(late) as server, served_by(server), pytest.raises(OntraportUnavailable):
        account.rest("GET", "objects", timeout=0.1)
