"""``manage.py ontraport assign`` moves a link to another owner."""

from __future__ import annotations

import io
from typing import Any

import pytest
from django.test import override_settings

from ontraport_connect import linking
from ontraport_connect.exceptions import LinkingFailed
from ontraport_connect.linking import Owner
from ontraport_connect.models import EventKind, OntraportAccount, OntraportEvent
from tests.support.command import Run
from tests.support.linked import key_account, person

pytestmark = pytest.mark.django_db

TENANTS = override_settings(ONTRAPORT_TENANT="tests.support.pages.tenant_of_request")


@pytest.fixture
def maya() -> Any:
    return person("maya")


def owners() -> list[tuple[str, str, bool]]:
    rows = OntraportAccount.objects.order_by("pk").values_list("user__username", "tenant", "is_default")
    return [(user or "", tenant, is_default) for user, tenant, is_default in rows]


@TENANTS
def test_personal_link_becomes_a_tenants(maya: Any) -> None:
    account = key_account(maya, label="Shop", is_default=True)
    secret = account.access_token.reveal()
    run = Run("assign", str(account.uid), "--tenant", "acme", "--yes")
    assert (run.output, run.status) == (f"Moved Shop ({account.uid}) from maya to tenant acme.\n", 0)
    assert owners() == [("maya", "acme", True)]
    account.refresh_from_db()
    assert account.access_token.reveal() == secret
    event = OntraportEvent.objects.get()
    assert (event.kind, event.detail, event.tenant, event.account) == (EventKind.LINKED, "assigned", "acme", account)
    assert list(OntraportAccount.objects.for_owner(maya, "acme")) == [account]


def test_link_of_a_tenant_becomes_a_persons(maya: Any) -> None:
    person("tomas")
    account = key_account(maya, tenant="acme")
    data = Run("assign", str(account.uid), "--user", "tomas", "--yes", "--json").data
    assert data == {"uid": str(account.uid), "assigned": True, "owner": "tomas", "tenant": "", "user": "tomas"}
    assert owners() == [("tomas", "", True)]


@TENANTS
def test_link_of_nobody_gets_a_tenant_and_the_tenants_default_stays(maya: Any) -> None:
    key_account(maya, tenant="borealis", is_default=True)
    account = key_account(None, tenant="acme", ontraport_id="204211", is_default=True)
    assert Run("assign", str(account.uid), "--tenant", "borealis", "--yes").status == 0
    assert owners() == [("maya", "borealis", True), ("", "borealis", False)]


def test_link_of_nobody_gets_an_owner(maya: Any) -> None:
    account = key_account(None)
    run = Run("assign", str(account.uid), "--user", "maya", "--yes")
    assert run.output == f"Moved {account} ({account.uid}) from nobody to maya.\n"
    assert owners() == [("maya", "", True)]


@TENANTS
def test_owner_that_it_has_already_changes_nothing(maya: Any) -> None:
    account = key_account(maya, tenant="acme")
    run = Run("assign", str(account.uid), "--tenant", "acme")
    assert (run.output, run.status) == (f"{account} ({account.uid}) belongs to tenant acme already.\n", 0)
    assert not OntraportEvent.objects.exists()
    assert owners() == [("maya", "acme", False)]


@TENANTS
def test_owner_that_has_this_ontraport_account_already_is_refused(maya: Any) -> None:
    key_account(maya, tenant="acme")
    account = key_account(maya)
    run = Run("assign", str(account.uid), "--tenant", "acme", "--yes")
    assert (run.status, "187157" in run.problem) == (1, True)
    assert owners() == [("maya", "acme", False), ("maya", "", False)]
    assert not OntraportEvent.objects.exists()


@TENANTS
def test_links_that_are_not_identified_may_be_several(maya: Any) -> None:
    key_account(maya, tenant="acme", ontraport_id="")
    account = key_account(maya, ontraport_id="")
    assert Run("assign", str(account.uid), "--tenant", "acme", "--yes").status == 0


@pytest.mark.parametrize(
    ("tenant_setting", "arguments", "said"),
    [
        (None, ["--tenant", "acme"], "ONTRAPORT_TENANT is not set"),
        ("tests.support.pages.tenant_of_request", ["--user", "maya"], "ONTRAPORT_TENANT is set"),
        ("tests.support.pages.tenant_of_request", ["--tenant", ""], "1 to 200 characters"),
        ("tests.support.pages.tenant_of_request", ["--tenant", "x" * 201], "1 to 200 characters"),
        (None, ["--user", "nobody"], "no user nobody"),
    ],
)
def test_owner_who_could_not_see_it_is_wrong_usage(
    maya: Any, tenant_setting: str | None, arguments: list[str], said: str
) -> None:
    account = key_account(maya, tenant="north" if tenant_setting is None else "")
    before = owners()
    with override_settings(ONTRAPORT_TENANT=tenant_setting):
        run = Run("assign", str(account.uid), *arguments, "--yes")
    assert (run.status, said in run.problem) == (2, True), run.problem
    assert owners() == before


@TENANTS
def test_it_asks_and_no_means_no(maya: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    account = key_account(maya)
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
    run = Run("assign", str(account.uid), "--tenant", "acme")
    assert (run.problem, owners()) == ("Nothing changed.", [("maya", "", False)])
    assert f"Move {account} ({account.uid}) from maya to tenant acme?" in run.progress
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    assert Run("assign", str(account.uid), "--tenant", "acme").status == 0
    assert owners() == [("maya", "acme", True)]


def test_link_that_was_removed_meanwhile_is_gone(maya: Any) -> None:
    account = key_account(maya)
    OntraportAccount.objects.all().delete()
    with pytest.raises(LinkingFailed) as raised:
        linking.assign(account, Owner(user=maya, tenant="acme"))
    assert raised.value.code == "gone"
