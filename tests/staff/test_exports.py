"""What staff take out of the admin, and who did what."""

from __future__ import annotations

import csv
import io
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.test import Client
from django.utils import timezone

from ontraport_connect.models import EventKind, Method, OntraportAccount, OntraportEvent, Status, acting
from ontraport_connect.staff import exports
from tests.support.command import Run
from tests.support.pages import url

pytestmark = pytest.mark.django_db(transaction=True)

LIST = "/admin/ontraport_connect/ontraportaccount/"


@pytest.fixture
def support(client: Client) -> Client:
    client.force_login(get_user_model().objects.create_superuser("support"))
    return client


def make(user: Any = None, **values: Any) -> OntraportAccount:
    secrets = {"access_token": "an-access-token-to-find", "refresh_token": None}
    account: OntraportAccount = OntraportAccount.objects.create(
        user=user, **{"method": Method.API_KEY, **secrets, **values}
    )
    return account


def test_selected_accounts_are_exported_without_secrets_or_formulas(support: Client) -> None:
    maya = get_user_model().objects.create_user("maya")
    refreshed = timezone.now() - timedelta(minutes=12)
    first = make(maya, label="=cmd|' /C calc'!A0", ontraport_id="187157", refreshed_at=refreshed)
    second = make(tenant="north", label="Tea", status=Status.NEEDS_RECONNECT, last_error="key_refused")
    data = {"action": "export", "_selected_action": [first.pk, second.pk]}
    response = support.post(LIST, data)
    text = b"".join(response.streaming_content).decode()  # type: ignore[attr-defined]
    assert response["Content-Disposition"] == 'attachment; filename="ontraport-accounts.csv"'
    assert "to-find" not in text
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [tuple(row) for row in rows] == [exports.COLUMNS] * 2
    assert (rows[0]["account"], rows[0]["user"], rows[0]["state"]) == ("'=cmd|' /C calc'!A0", "maya", "connected")
    assert (rows[1]["user"], rows[1]["tenant"], rows[1]["state"]) == ("", "north", "needs_reconnect")
    assert (rows[0]["refreshed_at"], rows[1]["refreshed_at"]) == (refreshed.isoformat(timespec="seconds"), "")
    assert "12 minutes ago" in support.get(LIST).content.decode()


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"], ids=["comma", "semicolon", "tab", "bar"])
@pytest.mark.parametrize(
    "text",
    [
        "=1+1",
        "x;=1+1",
        "x; @SUM(A1)",
        "x,-1+1",
        "x\t+1",
        "x|=1+1",
        "x\n=1+1",
        "x\r\n;=1+1",
        'x;"=1+1"',
        ";;=1;+1",
        "\uff1d1+1",
        "x;\uff0b1",
        "\uff0d1",
        "\uff20SUM(A1)",
        "\t=1",
        "\rx",
    ],
)
def test_no_cell_is_a_formula_whatever_separates_the_cells(text: str, separator: str) -> None:
    """Where the comma is the decimal sign, spreadsheets split a CSV file at semicolons."""
    make(label=text, tenant=text)
    written = b"".join(exports.as_csv(OntraportAccount.objects.all()).streaming_content).decode()  # type: ignore[arg-type]
    cells = [cell for row in csv.reader(io.StringIO(written, newline=""), delimiter=separator) for cell in row]
    assert not [cell for cell in cells if cell.lstrip(' "').startswith(tuple("=+-@\t\r\uff1d\uff0b\uff0d\uff20"))]


@pytest.mark.parametrize("text", ["Tea & Co. (2-4)", "R+D; Tea, Coffee", "a=b", "maya@example.com"])
def test_text_that_is_no_formula_is_exported_as_it_is(text: str) -> None:
    make(label=text)
    written = b"".join(exports.as_csv(OntraportAccount.objects.all()).streaming_content).decode()  # type: ignore[arg-type]
    assert next(csv.DictReader(io.StringIO(written)))["account"] == text


def test_what_keys_and_grants_mean_is_said_before_they_are_disconnected(support: Client) -> None:
    key, grant = make(), make(method=Method.OAUTH)
    said = {account.method: support.get(f"{LIST}{account.pk}/delete/").content.decode() for account in (key, grant)}
    assert [("API keys stay valid" in said[name], "ask Ontraport to end" in said[name]) for name in said] == [
        (True, False),
        (False, True),
    ]


def test_history_says_who_connected_and_disconnected(support: Client) -> None:
    maya = get_user_model().objects.create_user("maya")
    own, by_staff, of_page, by_command = make(maya), make(maya), make(maya), make(maya)
    person = Client()
    person.force_login(maya)
    person.post(url("disconnect", own))
    support.post(LIST, {"action": "disconnect", "_selected_action": [by_staff.pk], "post": "yes"})
    support.post(f"{LIST}{of_page.pk}/delete/", {"post": "yes"})
    Run("disconnect", str(by_command.uid), "--yes")
    actors = {event.account_uid: event.actor for event in OntraportEvent.objects.filter(kind=EventKind.DISCONNECTED)}
    assert [actors[account.uid] for account in (own, by_staff, of_page, by_command)] == [
        "maya", "support (staff)", "support (staff)", "manage.py ontraport",
    ]  # fmt: skip
    assert "support (staff)" in support.get("/admin/ontraport_connect/ontraportevent/").content.decode()


def test_what_happens_by_itself_has_no_actor() -> None:
    account = make()
    with acting(lambda: "maya" * 100):
        OntraportEvent.record(account, EventKind.NEEDS_RECONNECT)
        OntraportEvent.record(account, EventKind.LINKED)
    OntraportEvent.record(account, EventKind.RECONNECTED)
    assert [event.actor for event in OntraportEvent.objects.order_by("pk")] == ["", "maya" * 50, ""]
