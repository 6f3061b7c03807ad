"""The test kit: links, contacts, tokens that end and answers that fail, in this process and without a network."""

from __future__ import annotations

import socket
import subprocess
import sys
from typing import Any

import pytest
from django.db import connection
from django.db.backends.signals import connection_created
from django.test import Client
from django.urls import reverse

from ontraport_connect import refreshing
from ontraport_connect.exceptions import OntraportRejected, OntraportUnavailable, ReconnectRequired
from ontraport_connect.models import Method, OntraportAccount, Status
from ontraport_connect.protocol import Transport
from ontraport_connect.sandbox import Refused
from ontraport_connect.testing import FakeOntraport, fake_ontraport
from tests.support.linked import person
from tests.support.servers import PROJECT

pytest_plugins = ["ontraport_connect.testing.fixtures"]


@pytest.fixture(autouse=True)
def no_socket(monkeypatch: pytest.MonkeyPatch, db: None) -> list[str]:
    """Refuse every connection, and return the list in which each attempt is noted. The database's is open already."""
    attempts: list[str] = []

    def refuse(*args: Any, **kwargs: Any) -> Any:
        attempts.append("opened")
        raise ConnectionRefusedError

    monkeypatch.setattr(socket.socket, "connect", refuse)
    return attempts


@pytest.fixture
def maya(db: None) -> Any:
    return person("maya")


def test_a_linked_account_is_used(ontraport: FakeOntraport, maya: Any) -> None:
    account = ontraport.linked_account(maya, label="Shop")
    assert account.mcp("get_account_info")["account_id"] == 187157
    assert account.mcp("count_objects", objectID="0") == {"count": len(ontraport.contacts)}
    assert (account.ontraport_id, account.label, account.method) == ("187157", "Shop", Method.OAUTH)


@pytest.mark.parametrize("is_new", [False, True], ids=["used before", "never used"])
def test_a_call_in_a_tests_transaction_makes_a_connection_only_for_an_account_that_was_never_used(
    ontraport: FakeOntraport, maya: Any, *, is_new: bool
) -> None:
    fields: dict[str, Any] = {"last_used_at": None} if is_new else {}
    account = ontraport.linked_account(maya, **fields)
    made: list[object] = []

    def note(connection: object, **_: object) -> None:
        made.append(connection)

    connection_created.connect(note)
    try:
        account.mcp("get_account_info")
    finally:
        connection_created.disconnect(note)
    is_elsewhere = is_new and connection.vendor != "sqlite"  # SQLite's one writer is this transaction
    assert len(made) == is_elsewhere


def test_a_key_pair_writes_what_the_test_sees(ontraport: FakeOntraport, maya: Any) -> None:
    account = ontraport.linked_account(maya, username="agency", method=Method.API_KEY)
    before = len(ontraport.contacts_of("agency"))
    account.rest("POST", "Contacts", json={"firstname": "Nia", "email": "nia@example.com"})
    account.rest("PUT", "Contacts", form={"id": before + 1, "city": "Cardiff"})
    assert ontraport.contacts_of("agency")[-1]["city"] == "Cardiff"
    assert len(ontraport.contacts) == 21
    assert (ontraport.requests[0]["method"], ontraport.requests[0]["path"]) == ("PUT", "/1/Contacts")


def test_contacts_are_arranged(ontraport: FakeOntraport, maya: Any) -> None:
    ontraport.contacts.clear()
    made = ontraport.contacts.add(firstname="Nia", email="nia@example.com")
    ontraport.contacts.change(made["id"], city="Cardiff")
    account = ontraport.linked_account(maya)
    assert account.mcp("get_objects", objectID="0")["data"] == ontraport.contacts[:] == [{**made, "city": "Cardiff"}]
    with pytest.raises(Refused):
        ontraport.contacts.add(nickname="x")


def test_a_token_that_has_ended_is_refreshed(ontraport: FakeOntraport, maya: Any) -> None:
    account = ontraport.linked_account(maya)
    ontraport.expire()
    stored = OntraportAccount.objects.get()
    assert stored.mcp("count_objects") == account.mcp("count_objects") == {"count": 21}
    assert [entry["path"] for entry in ontraport.requests].count("/oauth/token") == 1


def test_a_grant_that_was_taken_back_needs_a_reconnect(ontraport: FakeOntraport, maya: Any) -> None:
    kept, lost = ontraport.linked_account(maya, username="agency"), ontraport.linked_account(maya)
    ontraport.revoke("owner")
    with pytest.raises(ReconnectRequired):
        lost.mcp("count_objects")
    assert OntraportAccount.objects.get(pk=lost.pk).status == Status.NEEDS_RECONNECT
    assert kept.mcp("count_objects") == {"count": 20}
    ontraport.revoke()
    with pytest.raises(ReconnectRequired):
        refreshing.refresh(kept)


@pytest.mark.parametrize(
    ("how", "code", "arrived"),
    [
        (429, "rate_limited", False),
        (503, "http_503", False),
        ("nonsense", "nonsense", False),
        ("connection", "connection", False),
        ("timeout", "timeout", True),
        ("lost", "cut", True),
    ],
)
def test_answers_that_fail(ontraport: FakeOntraport, maya: Any, how: int | str, code: str, *, arrived: bool) -> None:
    account = ontraport.linked_account(maya, method=Method.API_KEY)
    ontraport.fail(how, at="rest", times=1)
    with pytest.raises(OntraportUnavailable) as raised:
        account.rest("POST", "Contacts", json={"firstname": "Nia"}, timeout=5)
    assert (raised.value.code, len(ontraport.contacts)) == (code, 21 + arrived)


def test_failures_end_when_they_are_told_to(ontraport: FakeOntraport, maya: Any) -> None:
    account = ontraport.linked_account(maya)
    ontraport.fail("timeout")
    for _ in range(2):
        with pytest.raises(OntraportUnavailable):
            account.mcp("count_objects")
    ontraport.recover()
    assert account.mcp("count_objects") == {"count": 21}


def test_switches_are_those_of_the_control_page(ontraport: FakeOntraport, maya: Any) -> None:
    ontraport.switch(mcp_errors_in_results=True)
    with pytest.raises(OntraportRejected):
        ontraport.linked_account(maya).mcp("get_objects", objectID="99")
    with pytest.raises(TypeError):
        ontraport.switch(colour="red")


def test_a_person_links_and_disconnects(ontraport: FakeOntraport, maya: Any, client: Client) -> None:
    client.force_login(maya)
    assert ontraport.link(client, allow=False)["Location"] == reverse("ontraport_connect:problem", args=["denied"])
    assert ontraport.link(client, username="agency").status_code == 302
    account = OntraportAccount.objects.get()
    assert account.ontraport_id == "204211"
    refreshing.refresh(account)
    client.post(reverse("ontraport_connect:disconnect", args=[account.uid]))
    assert not OntraportAccount.objects.exists()


def test_it_knows_no_other_address(ontraport: FakeOntraport) -> None:
    transport = Transport(timeout=(1, 1))
    with pytest.raises(OntraportUnavailable) as raised:
        transport.send("GET", "https://api.ontraport.com/1/objects")
    assert raised.value.code == "connection"
    assert transport.send("POST", "https://app.ontraport.test/oauth/revoke", form={"token": "x"}).status == 200


def test_what_was_plugged_in_is_taken_out_again(no_socket: list[str]) -> None:
    connections = no_socket
    with fake_ontraport() as outer, fake_ontraport() as inner:
        inner.contacts.clear()
        assert (len(inner.contacts), len(outer.contacts)) == (0, 21)
    with pytest.raises(OntraportUnavailable):
        Transport(timeout=(1, 1)).send("GET", "http://127.0.0.1:9/")
    assert connections == ["opened"]


def test_it_needs_neither_pytest_nor_django_oauth_toolkit() -> None:
    code = (
        "import sys; sys.modules['pytest'] = sys.modules['oauth2_provider'] = None\n"
        "import django; django.setup()\n"
        "import ontraport_connect.testing, ontraport_connect.management.commands.ontraport\n"
        "print(sorted(name for name in sys.modules if 'sandbox.server' in name))"
    )
    environ = {"DJANGO_SETTINGS_MODULE": "example_project.settings", "DEBUG": "True", "ENV_FILE": "", "PATH": ""}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=PROJECT, env=environ, check=True, capture_output=True, text=True
    )
    assert done.stdout == "[]\n"


def test_a_linked_account_looks_as_if_its_person_had_pressed_the_button(maya: Any) -> None:
    with fake_ontraport() as ontraport:
        first = ontraport.linked_account(maya)
        second = ontraport.linked_account(maya, username="agency")
        shared = ontraport.linked_account(maya, tenant="acme")
        unlike = ontraport.linked_account(maya, tenant="other", is_default=False)
    assert [each.is_default for each in (first, second, shared, unlike)] == [True, False, True, False]
    assert [event.kind for event in first.events.all()] == ["linked"]
