"""``manage.py ontraport disconnect --all``: uninstalling with every grant revoked."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from django.db.models import ProtectedError
from django.db.models.signals import pre_delete
from django.test import override_settings

from ontraport_connect.encryption import Sealed
from ontraport_connect.models import EventKind, OntraportAccount, OntraportEvent, OntraportRevocation
from tests.support import ontraport
from tests.support.command import Run
from tests.support.copies import mark_as_copied, new_installation
from tests.support.linked import key_account, linked_account, person
from tests.support.servers import Sandbox

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def configured(sandbox: Sandbox) -> Iterator[None]:
    with override_settings(**ontraport.settings_for(sandbox.url)):
        yield


@pytest.fixture
def accounts(sandbox: Sandbox) -> list[OntraportAccount]:
    """Two people's links to one Ontraport account, one to another, and a key pair."""
    maya, tomas = person("maya"), person("tomas")
    return [
        linked_account(maya, sandbox),
        linked_account(tomas, sandbox),
        linked_account(tomas, sandbox, username="agency"),
        key_account(maya),
    ]


def living_grants(sandbox: Sandbox) -> int:
    return sum(grant["alive"] for grant in sandbox.state()["grants"])


def counts(**values: int) -> dict[str, int]:
    return {"disconnected": 0, "revoked": 0, "queued": 0, "not_revocable": 0, "failed": 0, **values}


def test_every_account_goes_and_every_grant_ends(accounts: list[OntraportAccount], sandbox: Sandbox) -> None:
    run = Run("disconnect", "--all", "--yes")
    assert (run.status, run.problem) == (0, "")
    assert run.output == "4 accounts disconnected.\n3 grants revoked at Ontraport, 0 queued, 0 not revocable.\n"
    assert "4 accounts of 4 disconnected…\n" in run.progress
    assert "3 grants revoked, 0 queued…\n" in run.progress
    assert not OntraportAccount.objects.exists()
    assert not OntraportRevocation.objects.exists()
    assert living_grants(sandbox) == 0
    assert OntraportEvent.objects.filter(kind=EventKind.DISCONNECTED).count() == 4


@pytest.mark.parametrize("typed", ["y\n", "n\n", ""])
def test_it_asks_first(accounts: list[OntraportAccount], monkeypatch: pytest.MonkeyPatch, typed: str) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(typed))
    run = Run("disconnect", "--all")
    assert run.progress.startswith(
        "Disconnect 4 accounts, all of this site? Only the owners can reconnect them. [y/N] "
    )
    assert OntraportAccount.objects.count() == (0 if typed == "y\n" else 4)
    assert run.problem == ("" if typed == "y\n" else "Nothing changed.")


def test_a_machine_reads_counts(accounts: list[OntraportAccount]) -> None:
    run = Run("disconnect", "--all", "--json")
    assert (run.status, run.problem) == (2, "With --json nobody can be asked: add --yes.")
    run = Run("disconnect", "--all", "--json", "--yes")
    assert (run.data, run.progress) == (counts(disconnected=4, revoked=3), "")


def test_where_there_is_nothing_it_asks_nothing() -> None:
    assert Run("disconnect", "--all", "--json").data == counts()


def test_what_could_not_be_revoked_is_queued_and_the_next_run_goes_on(
    accounts: list[OntraportAccount], sandbox: Sandbox
) -> None:
    sandbox.set(fault="500", fault_target="revoke")
    run = Run("disconnect", "--all", "--yes")
    assert run.output == "4 accounts disconnected.\n0 grants revoked at Ontraport, 3 queued, 0 not revocable.\n"
    assert (run.status, run.problem) == (
        75,
        "3 grants could not be revoked yet: run this again before you uninstall.",
    )
    sandbox.set(fault="none")
    run = Run("disconnect", "--all", "--json")  # at once: no pause is waited for
    assert (run.status, run.data) == (0, counts(revoked=3))
    assert living_grants(sandbox) == 0


def test_it_does_not_wait_for_each_grant_while_ontraport_is_away(sandbox: Sandbox) -> None:
    for _ in range(12):
        OntraportRevocation.objects.create(
            account_uid="6f0b1a52-9f5d-4a3b-9d8e-1f1f2f3f4f5f", refresh_token="forgotten"
        )
    sandbox.set(fault="500", fault_target="revoke")
    assert Run("disconnect", "--all", "--json").data == counts(queued=12)
    assert sorted(OntraportRevocation.objects.values_list("attempts", flat=True)) == [0] * 2 + [1] * 10
    Run("disconnect", "--all")  # begins with those that were left
    assert sorted(OntraportRevocation.objects.values_list("attempts", flat=True)) == [1] * 4 + [2] * 8


def test_a_grant_that_cannot_be_decrypted_is_counted(accounts: list[OntraportAccount]) -> None:
    OntraportAccount.objects.filter(pk=accounts[0].pk).update(refresh_token=Sealed(b"\1altered"))
    run = Run("disconnect", "--all", "--yes")
    assert run.output == "4 accounts disconnected.\n2 grants revoked at Ontraport, 0 queued, 1 not revocable.\n"
    assert (run.status, run.problem) == (
        1,
        "1 grant cannot be revoked from here (the log and the accounts' history say why): let the owners end the access in Ontraport.",
    )


def test_without_a_revocation_endpoint_no_grant_is_revoked(accounts: list[OntraportAccount], sandbox: Sandbox) -> None:
    endpoints = {name: value for name, value in sandbox.endpoints.items() if name != "revocation_endpoint"}
    with override_settings(ONTRAPORT_ENDPOINTS=endpoints):
        run = Run("disconnect", "--all", "--yes", "--json")
    assert (run.status, run.data) == (1, counts(disconnected=4, not_revocable=3))


def test_an_account_that_the_site_protects_stays_and_is_counted(accounts: list[OntraportAccount]) -> None:
    protected = accounts[3]

    def protect(instance: OntraportAccount, **kwargs: Any) -> None:
        if instance.pk == protected.pk:
            raise ProtectedError("needed", {instance})

    pre_delete.connect(protect, sender=OntraportAccount)
    try:
        run = Run("disconnect", "--all", "--yes", "--json")
    finally:
        pre_delete.disconnect(protect, sender=OntraportAccount)
    assert (run.status, run.data) == (1, counts(disconnected=3, revoked=3, failed=1))
    assert run.problem == "1 account could not be deleted, because other data of this site needs it."
    assert OntraportAccount.objects.get() == protected


def test_in_a_copied_database_nothing_is_disconnected(accounts: list[OntraportAccount], sandbox: Sandbox) -> None:
    before = living_grants(sandbox)
    with new_installation():
        mark_as_copied()
        run = Run("disconnect", "--all", "--yes", "--json")
    assert (run.status, run.data["error"]) == (1, "copied_database")
    assert (OntraportAccount.objects.count(), living_grants(sandbox)) == (4, before)


@pytest.mark.parametrize("arguments", [[], ["6f0b1a52-9f5d-4a3b-9d8e-1f1f2f3f4f5f", "--all"]])
def test_it_takes_one_account_or_all(arguments: list[str]) -> None:
    assert Run("disconnect", *arguments, "--yes").problem
