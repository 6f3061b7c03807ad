"""Every place that tells the state of a link tells the same: the button, the card, the admin, the command and its JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from itertools import product
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


def states_of(account: OntraportAccount, client: Client, user: Any) -> dict[str, str]:
    """Return what each place says, as the name of a state."""
    return {
        "button": said(BUTTONS, button(user), str.__contains__),
        "card": said(CARDS, client.get("/ontraport/").context["cards"][0].state.title, lambda text, word: text == word),
        "connect page": client.get(f"/ontraport/connect/?account={account.uid}").context["state"].code,
        "badge": badge(client, account),
        "filters": " ".join(state for state in LinkState if listed(state)),
        "tiles": " ".join(tile.code for tile in tiles() if tile.count and tile.code in LinkState.values),
        "accounts": said({state: {str(state.label)} for state in LinkState}, printed("accounts"), str.startswith),
        "accounts --state": " ".join(state for state in LinkState if str(account.uid) in printed("accounts", "--state", state)),
        "accounts --json": json.loads(printed("accounts", "--json"))[0]["state"],
        "check": said({state: {f"1 {words}"} for state, words in WORDS.items()}, next(check_states()).text, str.__eq__),
        "export": b"".join(exports.as_csv(OntraportAccount.objects.all()).streaming_content).decode().split(",")[13],  # type: ignore[arg-type]
        "template": state_texts.state_of(account).code,
    }  # fmt: skip


def said(words: dict[LinkState, Any], text: object, matches: Any) -> str:
    return " ".join(state for state, known in words.items() if any(matches(str(text), word) for word in known))


def button(user: Any) -> str:
    request: Any = RequestFactory().get("/")
    request.user = user
    request.ontraport = RequestAccounts(request)
    template = Template("{% load ontraport_connect %}{% connect_ontraport %}")
    return template.render(RequestContext(request, {}))


def badge(client: Client, account: OntraportAccount) -> str:
    pages = [client.get(f"/admin/ontraport_connect/ontraportaccount/{path}") for path in ("", f"{account.pk}/change/")]
    (found,) = {
        match for page in pages for match in re.findall(r'ontraport-badge ontraport-(\w+)"', page.content.decode())
    }
    return str(found)


def listed(state: LinkState) -> bool:
    return OntraportAccount.objects.filter(account_conditions()[state]).exists()


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
    seen = set()
    with site(standing):
        for row in ROWS:
            OntraportAccount.objects.all().delete()
            account = OntraportAccount.objects.create(user=maya, ontraport_id="7", **row)
            told = states_of(account, client, maya)
            assert told == dict.fromkeys(told, expected(account, standing).value), row
            seen |= set(told.values())
    assert seen == EVERY_STATE[standing]
