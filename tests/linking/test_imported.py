"""Tokens that come from elsewhere: an import that can be repeated, and an id that is learnt after the first refresh."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from celery import Celery
from django.contrib.auth import get_user_model
from django.db import connection
from django.test import Client, override_settings
from django.test.utils import CaptureQueriesContext

from ontraport_connect import linking, refreshing, tasks
from ontraport_connect.models import OntraportAccount, OntraportEvent
from tests.refreshing.test_takeover import ROW, locked
from tests.support import ontraport
from tests.support.accounts import linked
from tests.support.command import Run
from tests.support.linked import linked_account, person
from tests.support.servers import PROJECT, Sandbox
from tests.support.strict_server import StrictServer

pytestmark = pytest.mark.django_db(transaction=True)
RECIPE = PROJECT / "docs" / "operations.md"


@pytest.fixture
def at_sandbox(sandbox: Sandbox) -> Iterator[Sandbox]:
    with override_settings(**ontraport.settings_for(sandbox.url)):
        yield sandbox


@pytest.fixture
def queue() -> Iterator[Celery]:
    app = Celery("tests", broker="memory://", set_as_current=True)
    yield app
    app.control.purge()
    app.close()


def recipe() -> Any:
    """Return the function of the recipe in the documentation."""
    (block,) = re.findall(
        r"```python\n(def import_links.*?|[^`]*?\ndef import_links.*?)```", RECIPE.read_text(), re.DOTALL
    )
    names: dict[str, Any] = {}
    exec(compile(block, str(RECIPE), "exec"), names)  # noqa: S102  # our own documentation
    return names["import_links"]


def foreign_tokens(sandbox: Sandbox, name: str) -> dict[str, Any]:
    """Return a grant as another system would have stored it: made at the sandbox, and in no row of ours."""
    account = linked_account(person(name), sandbox)
    assert account.refresh_token is not None
    tokens = {
        "username": name,
        "access_token": account.access_token.reveal(),
        "refresh_token": account.refresh_token.reveal(),
        "expires_at": account.expires_at,
        "client_id": account.client_id,
    }
    OntraportEvent.objects.all().delete()
    OntraportAccount.objects.filter(pk=account.pk)._raw_delete("default")  # a deletion would revoke the grant
    return tokens


def test_the_recipe_imports_once_and_the_first_refresh_learns_the_id(at_sandbox: Sandbox, queue: Celery) -> None:
    import_links, rows = recipe(), [foreign_tokens(at_sandbox, "maya")]
    assert import_links(rows) == 1
    (account,) = OntraportAccount.objects.all()
    refreshing.refresh(account)
    newest = account.refresh_token.reveal()
    assert import_links(rows) == 0
    (account,) = OntraportAccount.objects.all()
    assert account.refresh_token.reveal() == newest
    assert account.ontraport_id == ""
    assert linking.learn_ids(linking.without_id([account.pk])) == 1
    account.refresh_from_db()
    assert (account.ontraport_id, account.label) == ("187157", "Harbour Street Coffee")
    with CaptureQueriesContext(connection) as queries:
        assert linking.without_id([account.pk]) == []
    assert len(queries) == 1


def test_the_task_that_refreshes_has_the_id_learnt(at_sandbox: Sandbox, queue: Celery) -> None:
    recipe()([foreign_tokens(at_sandbox, "maya")])
    OntraportAccount.objects.update(refresh_at="2026-01-01T00:00Z")
    (pk,) = OntraportAccount.objects.values_list("pk", flat=True)
    assert tasks.refresh_accounts([pk]) == {"refreshed": 1}
    with queue.connection_for_read() as broker, broker.SimpleQueue("celery") as messages:
        message = messages.get_nowait()
    assert message.headers["task"] == "ontraport_connect.tasks.learn_ids"
    assert tasks.learn_ids(*message.payload[0]) == 1
    assert tasks.refresh_accounts([pk]) == {}


def test_cron_learns_it_too(at_sandbox: Sandbox) -> None:
    recipe()([foreign_tokens(at_sandbox, "maya")])
    OntraportAccount.objects.update(refresh_at="2026-01-01T00:00Z")
    assert Run("refresh", "--all").status == 0
    assert OntraportAccount.objects.get().ontraport_id == "187157"


@pytest.mark.server_database
def test_an_account_whose_row_is_held_learns_its_id_the_next_time(at_sandbox: Sandbox) -> None:
    recipe()([foreign_tokens(at_sandbox, name) for name in ("maya", "tomas")])
    OntraportAccount.objects.update(refreshed_at="2026-01-01T00:00Z")
    held, other = OntraportAccount.objects.order_by("pk")
    with locked(ROW, held.pk):
        assert linking.learn_ids([held.pk, other.pk]) == 1
    assert linking.without_id([held.pk, other.pk]) == [held.pk]
    assert linking.learn_ids([held.pk]) == 1


def test_two_links_to_one_account_stay_and_are_said(at_sandbox: Sandbox, caplog: pytest.LogCaptureFixture) -> None:
    rows = [foreign_tokens(at_sandbox, "maya")]
    maya = get_user_model().objects.get()
    client = Client()
    client.force_login(maya)
    recipe()(rows)
    ontraport.link(client, at_sandbox)
    imported = OntraportAccount.objects.get(ontraport_id="")
    refreshing.refresh(imported)
    assert linking.learn_ids([imported.pk]) == 0
    assert "disconnect one of the two" in caplog.text
    assert OntraportAccount.objects.count() == 2


def test_an_ontraport_that_does_not_tell_is_asked_once(strict: StrictServer, caplog: pytest.LogCaptureFixture) -> None:
    accounts = [linked("one"), linked("two")]
    for account in accounts:
        refreshing.refresh(account)
    pks = [account.pk for account in accounts]
    assert linking.without_id(pks) == pks
    assert linking.learn_ids(pks) == 0
    assert caplog.text.count("did not tell whose account") == 1


def test_without_the_extra_nothing_is_asked(strict: StrictServer, monkeypatch: pytest.MonkeyPatch) -> None:
    account = linked("one")
    refreshing.refresh(account)
    monkeypatch.setattr("ontraport_connect.protocol.is_mcp_installed", lambda: False)
    assert linking.without_id([account.pk]) == []


def test_a_broker_that_is_away_does_not_fail_a_refresh(strict: StrictServer) -> None:
    account = linked("one")
    app = Celery("tests", broker="redis://127.0.0.1:1/0", set_as_current=True)
    try:
        assert tasks.refresh_accounts([account.pk]) == {"refreshed": 1}
    finally:
        app.close()
