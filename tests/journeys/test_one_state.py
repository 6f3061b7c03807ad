"""Every place that tells the state of a link tells the same: the button, the card, the admin, the command and its JSON."""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from itertools import pairwise, product
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.template import RequestContext, Template
from django.test import Client, RequestFactory, override_settings
from django.utils import timezone

from ontraport_connect.exceptions import OntraportMisconfigured, OntraportUnavailable, ReconnectRequired
from ontraport_connect.middleware import RequestAccounts
from ontraport_connect.models import Method, OntraportAccount, OntraportService, Status
from ontraport_connect.pages import state_texts
from ontraport_connect.refreshing import LinkState, circuit_breaker
from ontraport_connect.staff import exports, tiles
from ontraport_connect.staff.admin_filters import account_conditions
from ontraport_connect.staff.state_check import WORDS, check_states
from tests.support import ontraport
from tests.support.command import Run

pytestmark = pytest.mark.django_db(transaction=True)

SITES = ("served", "slowed down", "refused", "many ended", "copied")
ROWS = [
    {"status": status, "method": method, "failures": failures, "last_error": error, "expires_at": expires}
    for status, method, (failures, error, expires) in product(
        Status.values,
        Method.values,
        [
            (0, "", timezone.now() + timedelta(hours=1)),
            (3, "timeout", timezone.now() + timedelta(hours=1)),
            (3, "timeout", timezone.now() - timedelta(hours=1)),
            (1, "secret_unreadable", None),
            (0, "secret_unreadable", None),
            (2, "other_client", None),
        ],
    )
]
BUTTONS = {
    LinkState.CONNECTED: ("Connected as",),
    LinkState.HAVING_TROUBLE: ("Having trouble",),
    LinkState.PAUSED: ("Paused on our side",),
    LinkState.NEEDS_RECONNECT: ("Reconnect needed", "New key needed"),
}
CARDS = {
    LinkState.CONNECTED: {"Connected"},
    LinkState.HAVING_TROUBLE: {"Having trouble"},
    LinkState.PAUSED: {"Paused on our side"},
    LinkState.NEEDS_RECONNECT: {"Reconnect needed", "New key needed"},
}


@contextmanager
def site(standing: str) -> Iterator[None]:
    with override_settings(**ontraport.settings_for("http://127.0.0.1:9/")):
        if standing == "slowed down":
            circuit_breaker.hold(OntraportUnavailable("slow down", code="rate_limited", retry_after=60))
        elif standing == "refused":
            circuit_breaker.hold(OntraportMisconfigured("refused", code="invalid_client"))
        elif standing == "many ended":
            circuit_breaker.hold(ReconnectRequired("ended", code="invalid_grant"))
        elif standing == "copied":
            circuit_breaker.site_standing()
            OntraportService.objects.update(installation="setting:of another")
        with override_settings(ONTRAPORT_INSTALLATION="here" if standing == "copied" else None):
            yield


EVERY_STATE = {
    "served": set(LinkState.values),
    "slowed down": set(LinkState.values),
    "refused": set(LinkState.values),
    "many ended": set(LinkState.values),
    "copied": {"paused"},
}


def told_of_each(accounts: list[OntraportAccount], client: Client) -> dict[str, dict[int, str]]:
    """Return what each place says of each account, by primary key, as the name of a state."""
    own, admin = "/ontraport/", "/admin/ontraport_connect/ontraportaccount/"
    cards = client.get(own).context["cards"]
    rows = client.get(admin).content.decode().split("<tr")
    lines = printed("accounts").splitlines()
    data = json.loads(printed("accounts", "--json"))
    listed = {state: printed("accounts", "--state", state) for state in LinkState}
    filtered = {state: OntraportAccount.objects.filter(account_conditions()[state]).values("pk") for state in LinkState}
    exported = b"".join(exports.as_csv(OntraportAccount.objects.all()).streaming_content).decode().splitlines()  # type: ignore[arg-type]
    labels = {state: {str(state.label)} for state in LinkState}
    told: dict[str, dict[int, str]] = defaultdict(dict)
    for account in accounts:
        pk, uid = account.pk, str(account.uid)
        (card,) = (card for card in cards if card.account == account)
        (row,) = (row for row in rows if f"/{pk}/change/" in row)
        (line,) = (before for before, line in pairwise(lines) if uid in line)
        told["card"][pk] = said(CARDS, card.state.title, lambda text, word: text == word)
        told["connect page"][pk] = client.get(f"{own}connect/?account={uid}").context["state"].code
        told["badge in the list"][pk] = badge(row)
        told["badge"][pk] = badge(client.get(f"{admin}{pk}/change/").content.decode())
        told["filters"][pk] = " ".join(state for state in LinkState if {"pk": pk} in filtered[state])
        told["accounts"][pk] = said(labels, line, str.startswith)
        told["accounts --state"][pk] = " ".join(state for state in LinkState if uid in listed[state])
        told["accounts --json"][pk] = " ".join(entry["state"] for entry in data if entry["uid"] == uid)
        told["export"][pk] = " ".join(cells.split(",")[2] for cells in exported if cells.startswith(uid))
        told["template"][pk] = state_texts.state_of(account).code
    return told


def counts() -> Iterator[dict[str, int]]:
    """Yield what each place that counts says, by the name of a state."""
    yield {tile.code: tile.count for tile in tiles() if tile.count and tile.code in LinkState.values}
    numbers = (part.partition(" ") for part in next(check_states()).text.split(", "))
    yield {state.value: int(number) for number, _, words in numbers for state in LinkState if WORDS[state] == words}


def said(words: dict[LinkState, Any], text: object, matches: Any) -> str:
    return " ".join(state for state, known in words.items() if any(matches(str(text), word) for word in known))


def button(user: Any) -> str:
    request: Any = RequestFactory().get("/")
    request.user = user
    request.ontraport = RequestAccounts(request)
    template = Template("{% load ontraport_connect %}{% connect_ontraport %}")
    return template.render(RequestContext(request, {}))


def badge(page: str) -> str:
    (found,) = re.findall(r'ontraport-badge ontraport-(\w+)"', page)
    return str(found)


def printed(*arguments: str) -> str:
    return Run(*arguments).output


def expected(account: OntraportAccount, standing: str) -> LinkState:
    """Say the rules in another way: who has to act?"""
    is_ended = account.status == Status.NEEDS_RECONNECT
    if standing == "copied" or (account.method == Method.OAUTH and standing == "refused"):
        return LinkState.PAUSED
    if is_ended:
        return LinkState.NEEDS_RECONNECT
    if account.method == Method.OAUTH and standing == "many ended":
        return LinkState.PAUSED
    if account.last_error in {"secret_unreadable", "other_client"}:
        return LinkState.PAUSED
    return LinkState.HAVING_TROUBLE if account.failures else LinkState.CONNECTED


@pytest.mark.parametrize("standing", SITES)
def test_every_place_tells_the_same_state(client: Client, standing: str) -> None:
    maya = get_user_model().objects.create_superuser("maya")
    client.force_login(maya)
    with site(standing):
        accounts = [
            OntraportAccount.objects.create(user=maya, ontraport_id=f"{number}", **row)
            for number, row in enumerate(ROWS)
        ]
        wanted = {account.pk: expected(account, standing).value for account in accounts}
        for place, told in told_of_each(accounts, client).items():
            assert told == wanted, place
        for counted in counts():
            assert counted == Counter(wanted.values())
        for account in accounts:
            account.user = get_user_model().objects.create(username=account.ontraport_id)
            account.save()
            assert said(BUTTONS, button(account.user), str.__contains__) == wanted[account.pk], account
    assert set(wanted.values()) == EVERY_STATE[standing]
