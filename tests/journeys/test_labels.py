"""A label is one plain line in which something can be seen, wherever it comes from."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError
from django.test import Client, override_settings
from django.urls import reverse

from ontraport_connect import linking
from ontraport_connect.encryption import Secret
from ontraport_connect.exceptions import LinkingFailed
from ontraport_connect.linking import Owner
from ontraport_connect.linking.identity import Identity, read_identity
from ontraport_connect.models import OntraportAccount
from ontraport_connect.pages import editing
from ontraport_connect.pages.forms import KeyForm, RenameForm
from tests.support import ontraport
from tests.support.linked import key_account, person
from tests.support.servers import Sandbox

INVISIBLE = [
    "\u200b",
    "\u200d\u200c\ufeff",
    "\u00ad",
    "\u115f\u1160",
    "\u2800",
    "\u3164 \u3164",
    "\uffa0",
    "\ufe0f",
    "\u034f",
    "\u2060\u2063",
    "\U000e0041",
    "\U000e01ff",
    "\u2065",
    "\U0001d159",
]
names = [ascii(label) for label in INVISIBLE]
SAID = "Use at least one visible character."


@pytest.mark.parametrize("label", INVISIBLE, ids=names)
def test_forms_refuse_a_label_that_nobody_can_see(label: str) -> None:
    assert RenameForm({"label": label}).errors == {"label": [SAID]}
    assert KeyForm({"app_id": "2_1_x", "api_key": "the-key", "label": label}).errors == {"label": [SAID]}
    assert RenameForm({"label": f"{label}a"}).is_valid()


@pytest.mark.parametrize(
    "label", ["", "  \u3000 ", "한글", "ᄒ", "कि", "👩‍👩‍👧", "❤️", "\U0001fae9", "\ue000", "№", "…"]
)
def test_no_label_and_labels_of_every_script_are_taken(label: str) -> None:
    assert RenameForm({"label": label}).is_valid()


@pytest.mark.django_db
@pytest.mark.parametrize("label", ["\u3164", "two\nlines", "turned \u202e round"])
def test_rename_and_linking_refuse_it_too_before_anything_is_sent(label: str) -> None:
    account = key_account(person("maya"), label="Shop")
    with pytest.raises(ValidationError):
        editing.rename(account, label)
    with override_settings(ONTRAPORT_REST_URL="https://nobody.invalid/"), pytest.raises(LinkingFailed) as raised:
        linking.link_key_pair(
            Owner(user=account.user, tenant=None), app_id=Secret("id"), api_key=Secret("key"), label=label
        )
    assert raised.value.code == "label"
    account.refresh_from_db()
    assert account.label == "Shop"


@pytest.mark.django_db(transaction=True)
def test_a_label_is_stripped(sandbox: Sandbox) -> None:
    maya = person("maya")
    with override_settings(**ontraport.settings_for(sandbox.url)):
        account = linking.link_key_pair(
            Owner(user=maya, tenant=None),
            app_id=Secret("2_187157_sandbox"),
            api_key=Secret("sandbox-key-owner"),
            label=" Shop ",
        )
    assert account.label == "Shop"
    editing.rename(account, " The shop\n")
    assert OntraportAccount.objects.get().label == "The shop"


@pytest.mark.django_db
@pytest.mark.parametrize("label", ["\u3164", "turned \u202e round", "Other"])
def test_the_admin_refuses_it_too(client: Client, label: str) -> None:
    account = key_account(person("maya"), label="Shop")
    client.force_login(get_user_model().objects.create_superuser("support"))
    address = reverse("admin:ontraport_connect_ontraportaccount_change", args=[account.pk])
    response = client.post(address, {"label": label})
    assert response.status_code == (302 if label == "Other" else 200)
    account.refresh_from_db()
    assert account.label == ("Other" if label == "Other" else "Shop")


@pytest.mark.parametrize(("name", "label"), [("\u3164", ""), ("\u2800" * 100 + "x", ""), ("Harbour", "Harbour")])
def test_a_name_of_ontraports_that_nobody_can_see_is_none(name: Any, label: str) -> None:
    assert read_identity({"id": 7, "name": name}) == Identity(ontraport_id="7", name=label)
