"""Lists of any length from Ontraport's REST API."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from asgiref.sync import async_to_sync
from django.test import override_settings

from ontraport_connect.exceptions import OntraportRejected, OntraportUnavailable
from ontraport_connect.models import OntraportAccount
from tests.support import ontraport
from tests.support.answering import Answering, Asked, Reply, as_json, envelope
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
    async def names() -> tuple[int, list[str]]:
        pages = account.rest_pages("objects", objectID=0, range=10)
        return await pages.atotal(), [row["id"] async for row in pages]

    assert async_to_sync(names)() == (21, [str(number) for number in range(1, 22)])


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


def query_of(asked: Asked) -> dict[str, str]:
    return dict(parse_qsl(urlsplit(asked.path).query))


@pytest.mark.parametrize(
    "page",
    [
        {"range": 0},
        {"range": -5},
        {"range": 2.5},
        {"range": "many"},
        {"range": True},
        {"start": -1},
        {"start": "²"},
        {"condition": object()},
    ],
    ids=str,
)
def test_a_page_of_an_impossible_size_is_refused_before_anything_is_sent(
    sandbox: Sandbox, account: OntraportAccount, page: dict[str, Any]
) -> None:
    """A page of none would never be the last."""
    with pytest.raises((ValueError, TypeError)):
        account.rest_pages("objects", objectID=0, **page)
    assert sandbox.state()["counts"]["rest"] == 0


def test_a_query_in_the_path_belongs_to_every_page(account: OntraportAccount) -> None:
    pages = account.rest_pages("/1/objects?objectID=0&range=9", start="3")
    assert (pages.total(), [len(page) for page in pages.pages()]) == (21, [9, 9, 0])
    with pytest.raises(ValueError, match="'range' is in the path"):
        account.rest_pages("objects?range=9", range=3)


def test_an_answer_without_data_is_no_list(account: OntraportAccount) -> None:
    with (
        Answering(lambda asked: as_json({"code": 0})) as server,
        served_by(server),
        pytest.raises(OntraportRejected) as raised,
    ):
        list(account.rest_pages("objects/pause"))
    assert raised.value.code == "no_list"


def test_the_total_of_another_list_is_asked_of_the_list_itself(account: OntraportAccount) -> None:
    """Only lists of objects have ``getInfo``."""

    def tagged(asked: Asked) -> Reply:
        assert asked.path.startswith("/1/objects/tag?")
        return as_json({"code": 0, "data": [{"id": "1"}], "count": "7"})

    with Answering(tagged) as server, served_by(server):
        assert account.rest_pages("objects/tag", objectID=0, tag_id=3, start=5).total() == 7
    assert query_of(server.asked[0]) == {"objectID": "0", "tag_id": "3", "count": "true", "start": "0", "range": "1"}


@pytest.mark.parametrize("answer", [{"code": 0, "data": []}, {"code": 0, "count": None}, {"code": 0, "count": "many"}])
def test_a_list_whose_length_ontraport_does_not_tell_says_so(account: OntraportAccount, answer: object) -> None:
    with (
        Answering(lambda asked: as_json(answer)) as server,
        served_by(server),
        pytest.raises(OntraportRejected, match="objects/tag") as raised,
    ):
        account.rest_pages("objects/tag", objectID=0).total()
    assert raised.value.code == "no_total"
