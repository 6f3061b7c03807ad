"""What people, support and operators meet in a copy of another installation's database: nothing is sent, and they are told why."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.core import mail
from django.core.management import CommandError, call_command
from django.test import Client, override_settings
from django.urls import reverse
from django.utils import timezone

from ontraport_connect import linking, refreshing, tasks
from ontraport_connect.models import EventKind, OntraportAccount, OntraportEvent, OntraportRevocation, Status
from ontraport_connect.refreshing import database_identity
from tests.support import ontraport
from tests.support.answering import Answering, envelope
from tests.support.copies import mark_as_copied, new_installation, refused
from tests.support.linked import key_account, person
from tests.support.mail_server import mailer
from tests.support.servers import Sandbox

pytestmark = pytest.mark.django_db(transaction=True)

KEY_PAIR = {"app_id": "2_187157_sandbox", "api_key": "sandbox-key-owner"}


@pytest.fixture
def maya() -> Any:
    return person("maya")


@pytest.fixture
def provider() -> Iterator[Answering]:
    """All of Ontraport that a call could reach: it remembers what it was asked."""
    with Answering(lambda request: envelope({})) as server, override_settings(**ontraport.settings_for(server.url)):
        yield server


@pytest.fixture
def copied() -> Iterator[None]:
    mark_as_copied()
    with new_installation():
        yield


def account_of(user: Any, **values: Any) -> OntraportAccount:
    account: OntraportAccount = OntraportAccount.objects.create(
        user=user, access_token="an-access-token", refresh_token="a-refresh-token", **values
    )
    return account


def test_nobody_links_anything(client: Client, maya: Any, provider: Answering, copied: None) -> None:
    """A grant made here would be this site's own; yet a database with links of two sites could be told apart by nobody."""
    client.force_login(maya)
    response = client.post(reverse("ontraport_connect:connect"))
    assert (response.status_code, response["Location"]) == (
        302,
        reverse("ontraport_connect:problem", args=["misconfigured"]),
    )
    page = client.post(reverse("ontraport_connect:connect_key"), KEY_PAIR)
    assert (page.status_code, "t set up correctly" in page.content.decode()) == (422, True)
    assert (OntraportAccount.objects.count(), provider.asked) == (0, [])


def test_an_attempt_that_was_under_way_ends_before_its_code_is_sent(
    client: Client, maya: Any, sandbox: Sandbox
) -> None:
    client.force_login(maya)
    with override_settings(**ontraport.settings_for(sandbox.url)):
        answer = ontraport.consent(ontraport.press_connect(client))
        mark_as_copied()
        with new_installation():
            response = ontraport.come_back(client, answer)
    assert response["Location"] == reverse("ontraport_connect:problem", args=["misconfigured"])
    assert [grant for grant in sandbox.state()["grants"] if grant["alive"]] == []
    assert OntraportAccount.objects.count() == 0


def test_keys_are_neither_used_nor_checked_nor_put_off(maya: Any, provider: Answering, copied: None) -> None:
    account = key_account(maya, refresh_at=timezone.now() - timedelta(hours=1))
    with refused():
        account.rest("GET", "objects", params={"objectID": 0})
    assert linking.check_key_pairs(10) == {}
    assert getattr(linking.check_key_pair(account), "code", "") == "copied_database"
    stored = OntraportAccount.objects.get()
    assert (stored.refresh_at, stored.status, stored.last_error) == (account.refresh_at, Status.CONNECTED, "")
    assert provider.asked == []


def test_nothing_is_reconsidered(maya: Any, copied: None) -> None:
    """No row changes: what was marked in production may be right there."""
    account_of(maya, status=Status.NEEDS_RECONNECT, last_error="invalid_grant")
    with refused():
        refreshing.reconsider()
    assert OntraportAccount.objects.get().status == Status.NEEDS_RECONNECT


def test_grants_are_revoked_by_nobody(maya: Any, provider: Answering, copied: None) -> None:
    account = account_of(maya)
    revocation = refreshing.queue_revocation(account, account.refresh_token)
    assert refreshing.deliver_revocations(10) == 0
    assert not refreshing.deliver_revocation(revocation)
    with refused():
        refreshing.revoke_grant(account, account.refresh_token)
    linking.unlink(account)
    assert list(OntraportRevocation.objects.values_list("pk", "attempts")) == [(revocation.pk, 0)]
    assert OntraportEvent.objects.get(kind=EventKind.DISCONNECTED).detail == "copied_database"
    assert provider.asked == []


def test_nobody_is_written_to(copied: None) -> None:
    """The addresses are those of production's customers."""
    maya = get_user_model().objects.create_user("maya", email="maya@example.com")
    account = account_of(maya, status=Status.NEEDS_RECONNECT, linked_at=timezone.now() - timedelta(days=1))
    OntraportEvent.record(account, EventKind.NEEDS_RECONNECT)
    OntraportEvent.objects.filter(account=account).update(at=timezone.now() - timedelta(minutes=10))
    redirect_uri = "https://shop.example.com/ontraport/callback/"
    with override_settings(ONTRAPORT_NOTIFY=True, ONTRAPORT_REDIRECT_URI=redirect_uri, **mailer("locmem")):
        assert (tasks.send_notices(), mail.outbox) == (0, [])
        refreshing.adopt_database()
        assert (tasks.send_notices(), len(mail.outbox)) == (1, 1)


def test_customers_and_support_see_that_it_is_our_turn(client: Client, maya: Any, copied: None) -> None:
    account_of(maya)
    client.force_login(maya)
    assert "Your connections are safe" in client.get(reverse("ontraport_connect:accounts")).content.decode()
    support = get_user_model().objects.create_superuser("support")
    client.force_login(support)
    page = client.get(reverse("admin:ontraport_connect_ontraportaccount_glance")).content.decode()
    assert "looks like a copy of another installation" in page


def finding() -> tuple[str, str]:
    out = io.StringIO()
    with suppress(CommandError):
        call_command("ontraport", "check", "--offline", "--json", stdout=out, stderr=io.StringIO())
    (found,) = [each for each in json.loads(out.getvalue())["findings"] if each["subject"] == "installation"]
    return found["level"], found["text"]


def test_check_tells_what_a_copy_would_be_known_by(monkeypatch: pytest.MonkeyPatch) -> None:
    assert finding() == (
        "ok",
        "a copy of the database sends nothing, if its server or its name is another one (with SQLite, its file)",
    )
    assert refreshing.may_refresh()
    with new_installation():
        level, text = finding()
        assert (level, "before ONTRAPORT_INSTALLATION was set" in text) == ("error", True)
        refreshing.adopt_database()
        assert finding() == ("ok", "a copy of the database that is given another ONTRAPORT_INSTALLATION sends nothing")
    monkeypatch.setattr(database_identity, "IDENTITIES", {})
    refreshing.adopt_database()
    level, text = finding()
    assert (level, "would not be noticed; set ONTRAPORT_INSTALLATION" in text) == ("ok", True)
