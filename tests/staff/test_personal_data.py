"""What is stored about a person can be handed to them, and holds no credential."""

from __future__ import annotations

import json

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.test import Client
from django.urls import reverse

from ontraport_connect import linking, staff
from ontraport_connect.models import EventKind, OntraportAccount, OntraportEvent, OntraportRevocation, acting
from tests.support.accounts import linked, user_named
from tests.support.command import Run
from tests.support.strict_server import StrictServer

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_person_gets_their_links_and_the_history_also_of_those_that_are_gone(strict: StrictServer) -> None:
    maya = user_named("maya")
    kept, gone, shared = linked("kept", label="Shop"), linked("gone"), linked("shared", tenant="acme")
    for account in (kept, gone, shared):
        OntraportEvent.record(account, EventKind.LINKED)
    OntraportEvent.objects.create(account_uid=kept.uid, kind=EventKind.RECOVERED)
    OntraportEvent.objects.create(kind=EventKind.MISCONFIGURED)
    OntraportEvent.record(linked("theirs", user=user_named("tomas")), EventKind.LINKED)
    linking.unlink(gone)
    found = staff.export_person(maya)
    assert found["username"] == "maya"
    assert {account["uid"] for account in found["accounts"]} == {str(kept.uid), str(shared.uid)}
    assert [(event["account"], event["kind"]) for event in found["events"]] == [
        (str(kept.uid), "linked"),
        (str(gone.uid), "linked"),
        (str(shared.uid), "linked"),
        (str(kept.uid), "recovered"),
        (str(gone.uid), "disconnected"),
    ]
    text = json.dumps(found)
    assert not any(secret in text for secret in ("a.kept.0", "r.kept.0", "r.shared.0"))


def test_the_command_prints_it_for_people_and_for_machines(strict: StrictServer) -> None:
    linked("g", label="Büro")
    maya = user_named("maya")
    assert Run("export", "maya", "--json").data == staff.export_person(maya)
    assert json.loads(Run("export", "maya").output) == staff.export_person(maya)


def test_somebody_who_is_not_there(strict: StrictServer) -> None:
    run = Run("export", "nobody")
    assert (run.status, run.problem) == (2, "There is no user nobody.")


def test_a_site_event_without_an_account(strict: StrictServer) -> None:
    maya = user_named("maya")
    OntraportEvent.objects.create(kind=EventKind.MENDED, user=maya)
    assert staff.export_person(maya)["events"][0]["account"] is None


@pytest.mark.parametrize(
    ("actor", "said"),
    [
        ("maya", "maya"),
        ("tomas@example.com", "somebody else"),
        ("maya (staff)", "somebody else"),
        ("tomas as maya", "somebody else"),
        ("", ""),
    ],
)
def test_a_person_gets_their_own_name_and_no_name_of_a_colleague(strict: StrictServer, actor: str, said: str) -> None:
    account = linked("shared", tenant="acme")
    with acting(lambda: actor):
        OntraportEvent.record(account, EventKind.RECONNECTED)
    assert [event["actor"] for event in staff.export_person(user_named("maya"))["events"]] == [said]


def test_a_long_name_is_known_as_the_history_keeps_it(strict: StrictServer) -> None:
    user = user_named("maya")
    user.username = "m" * 250
    account = linked("long", user=user)
    with acting(user.get_username):
        OntraportEvent.record(account, EventKind.LINKED)
    assert staff.export_person(user)["events"][0]["actor"] == "m" * 200


@pytest.mark.parametrize("is_superuser", [True, False])
def test_support_deletes_a_person_in_the_admin(strict: StrictServer, is_superuser: bool) -> None:
    """https://github.com/pennersr/django-allauth/issues/1975: it asked for permissions that nobody has, or failed."""
    maya = user_named("maya")
    OntraportEvent.record(linked("own"), EventKind.LINKED)
    linked("shared", tenant="acme")
    support = get_user_model().objects.create_user("support", is_staff=True, is_superuser=is_superuser)
    support.user_permissions.set(Permission.objects.filter(codename__in=("delete_user", "delete_ontraportaccount")))
    browser = Client()
    browser.force_login(support)
    page = reverse("admin:auth_user_delete", args=[maya.pk])
    assert 'name="post"' in browser.get(page).content.decode()
    assert browser.post(page, {"post": "yes"}).status_code == 302
    assert not get_user_model().objects.filter(pk=maya.pk).exists()
    (left,) = OntraportAccount.objects.all()
    assert (left.tenant, left.user) == ("acme", None)
    assert OntraportEvent.objects.filter(kind=EventKind.LINKED, user=None).exists()
    assert OntraportRevocation.objects.exists() or strict.dead == ["own"]
