"""Finding out which Ontraport account a new grant belongs to."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.test import override_settings

from ontraport_connect.encryption.secret import Secret
from ontraport_connect.linking.identity import Identity, account_id_of, identify, read_identity
from ontraport_connect.models import OntraportAccount
from tests.support import ontraport
from tests.support.linked import linked_account, person
from tests.support.servers import Sandbox


@pytest.fixture(autouse=True)
def configured(sandbox: Sandbox) -> Iterator[None]:
    with override_settings(**ontraport.settings_for(sandbox.url)):
        yield


@pytest.mark.django_db(transaction=True)
@override_settings(ONTRAPORT_MCP_TOOLS=["get_objects"])
def test_after_linking_an_account_knows_its_number_and_its_name(sandbox: Sandbox) -> None:
    """Also on a site whose ONTRAPORT_MCP_TOOLS does not contain get_account_info."""
    linked_account(person("maya"), sandbox, username="agency")
    account = OntraportAccount.objects.get()
    assert (account.ontraport_id, account.label) == ("204211", "Northlight Agency")


def test_nothing_is_known_when_ontraport_does_not_say(caplog: pytest.LogCaptureFixture) -> None:
    assert identify(Secret("no-such-token")) == Identity()
    assert [record.getMessage() for record in caplog.records if record.name == "ontraport_connect"] == [
        "Ontraport did not tell whose account was linked: http_401"
    ]
    assert "no-such-token" not in caplog.text


def test_it_is_asked_by_the_route_of_the_settings(caplog: pytest.LogCaptureFixture) -> None:
    with override_settings(ONTRAPORT_CA_BUNDLE="/no/such/file.pem", ONTRAPORT_MCP_URL="https://127.0.0.1:1/"):
        assert identify(Secret("no-such-token")) == Identity()
    assert "ca_bundle" in caplog.text


@pytest.mark.parametrize(
    ("info", "identity"),
    [
        ({"account_id": 187157, "name": "Harbour"}, Identity(ontraport_id="187157", name="Harbour")),
        ({"account_number": "187157"}, Identity(ontraport_id="187157")),
        ({"id": 7, "name": None}, Identity(ontraport_id="7")),
        ({"name": "x" * 500}, Identity(name="x" * 100)),
        ({"name": "two\nlines"}, Identity()),
        ("Account 187157", Identity()),
        ([], Identity()),
        (None, Identity()),
    ],
)
def test_what_the_server_says_is_read_with_care(info: Any, identity: Identity) -> None:
    assert read_identity(info) == identity


@pytest.mark.parametrize(
    "value", [None, True, 1.5, [], {}, "", " ", "187 157", "<b>", "\u202e7", "1" * 41, 10**40, 0, -7, "\x00"]
)
def test_what_is_no_account_id_of_an_account(value: object) -> None:
    assert account_id_of(value) == ""


@pytest.mark.parametrize(("value", "number"), [(187157, "187157"), ("2_187157", "2_187157"), ("AbC-9", "AbC-9")])
def test_what_is(value: object, number: str) -> None:
    assert account_id_of(value) == number
