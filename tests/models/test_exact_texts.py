"""Owners and ids are told apart by every character, and an owner has one link to an Ontraport account, on every database."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.management import call_command
from django.db import IntegrityError, connection, transaction

from ontraport_connect.models import OntraportAccount, OntraportRevocation, OntraportSpentToken
from tests.support.accounts import user_named

pytestmark = pytest.mark.django_db

SPELLINGS = ["acme", "Acme", "ACME", "acme ", "ácme", "acme\u200b"]


def test_a_tenant_gets_the_links_of_no_other_spelling() -> None:
    for tenant in SPELLINGS:
        OntraportAccount.objects.create(tenant=tenant, ontraport_id="187157")
    for tenant in SPELLINGS:
        assert [row.tenant for row in OntraportAccount.objects.for_owner(None, tenant)] == [tenant]
    assert not OntraportAccount.objects.for_owner(None, "AcMe").exists()


def test_a_tenant_of_blanks_is_not_the_lack_of_a_tenant() -> None:
    maya = user_named("maya")
    OntraportAccount.objects.create(user=maya, tenant=" ")
    assert not OntraportAccount.objects.for_owner(maya, None).exists()


def test_owners_of_revocations_and_digests_are_compared_exactly() -> None:
    OntraportRevocation.objects.create(account_uid="0" * 32, owner="tenant:acme", refresh_token="r")
    assert not OntraportRevocation.objects.filter(owner="tenant:Acme").exists()
    assert not OntraportSpentToken.objects.filter(digest="A").exists()


def twice(**values: Any) -> bool:
    """Tell whether such an account can be made twice."""
    OntraportAccount.objects.create(**values)
    try:
        with transaction.atomic():
            OntraportAccount.objects.create(**values)
    except IntegrityError:
        return False
    return True


def test_an_owner_has_one_link_to_an_ontraport_account() -> None:
    maya, noor = user_named("maya"), user_named("noor")
    assert not twice(user=maya, ontraport_id="187157")
    assert not twice(user=noor, ontraport_id="187157")
    assert not twice(user=maya, tenant="acme", ontraport_id="187157")
    with pytest.raises(IntegrityError), transaction.atomic():  # whoever of the tenant made it
        OntraportAccount.objects.create(user=noor, tenant="acme", ontraport_id="187157")
    with pytest.raises(IntegrityError), transaction.atomic():
        OntraportAccount.objects.filter(user=noor).update(user=maya)
    OntraportAccount.objects.create(user=maya, ontraport_id="187157", method="api_key")
    OntraportAccount.objects.create(user=maya, ontraport_id="204211")
    assert twice(user=maya)
    assert twice(user=maya, tenant="acme")


def test_the_database_is_checked_without_a_warning() -> None:
    assert OntraportAccount.check(databases=["default"]) == []


@pytest.mark.django_db(transaction=True)
def test_what_other_databases_do_anyway_costs_them_no_statement(capsys: pytest.CaptureFixture[str]) -> None:
    call_command("sqlmigrate", "ontraport_connect", "0005")
    shown = [
        line for line in capsys.readouterr().out.splitlines() if line and not line.startswith(("--", "BEGIN", "COMMIT"))
    ]
    assert bool(shown) == (connection.vendor == "mysql")


@pytest.mark.django_db(transaction=True)
def test_the_migration_can_be_undone_and_done_again() -> None:
    call_command("migrate", "ontraport_connect", "0003", verbosity=0)
    call_command("migrate", "ontraport_connect", verbosity=0)
    assert not twice(user=user_named("maya"), ontraport_id="187157")


def test_accounts_are_found_outside_of_a_request() -> None:
    maya = user_named("maya")
    mine = OntraportAccount.objects.create(user=maya)
    acme = OntraportAccount.objects.create(user=maya, tenant="acme")
    assert list(OntraportAccount.objects.for_user(maya)) == list(OntraportAccount.objects.for_user(maya.pk)) == [mine]
    assert list(OntraportAccount.objects.for_tenant("acme")) == [acme]
    assert not OntraportAccount.objects.for_tenant("").exists()


def test_only_mysql_needs_a_collation_for_exact_texts() -> None:
    parameters = OntraportAccount._meta.get_field("tenant").db_parameters(connection)
    assert (parameters.get("collation") is not None) == (connection.vendor == "mysql")
