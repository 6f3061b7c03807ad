"""``manage.py ontraport adopt-database``: an operator goes on with a database that came from elsewhere, knowing what that means."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import pytest

from ontraport_connect import refreshing
from ontraport_connect.models import EventKind, OntraportAccount, OntraportEvent, OntraportRevocation
from tests.support.accounts import linked
from tests.support.command import Run, Terminal
from tests.support.copies import mark_as_copied, new_installation

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def account() -> Any:
    """The one link of the database, beside a grant that waits for its revocation."""
    account = linked("one")
    refreshing.queue_revocation(account, account.refresh_token)
    return account


@pytest.fixture
def copied(account: Any) -> Iterator[None]:
    mark_as_copied()
    with new_installation():
        yield


def answer(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(text))


def left() -> tuple[bool, int, int]:
    """Whether the database is ours, and how many links and revocations are in it."""
    return refreshing.is_own_database(), OntraportAccount.objects.count(), OntraportRevocation.objects.count()


@pytest.mark.parametrize("text", ["n\n", "\n", "", "sure\n"])
def test_nothing_happens_without_a_yes(copied: None, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    answer(monkeypatch, text)
    run = Run("adopt-database")
    assert (run.status, run.problem) == (1, "Nothing changed.")
    assert "This database holds 1 link. A refresh token can be spent once" in run.progress
    assert "1 ended grant that Ontraport was still to be told of is forgotten" in run.progress
    assert run.progress.endswith("Adopt this database? [y/N] \n")
    assert left() == (False, 1, 1)


def test_a_yes_makes_it_ours_and_forgets_what_the_original_revokes(
    copied: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer(monkeypatch, "y\n")
    run = Run("adopt-database")
    assert (run.status, left()) == (0, (True, 1, 0))
    assert "\n1 ended grant was forgotten; Ontraport was not told.\n" in run.output
    assert "link" not in run.output.splitlines()[1]
    assert OntraportEvent.objects.filter(kind=EventKind.MENDED, detail="adopted_database").exists()


def test_links_are_deleted_without_a_word_to_ontraport(copied: None, monkeypatch: pytest.MonkeyPatch) -> None:
    answer(monkeypatch, "yes\n")
    run = Run("adopt-database", "--delete-links")
    assert (
        "The 1 link in this database is deleted. Ontraport is not told, so it lives on where it came from."
        in run.progress
    )
    assert "\n1 link was deleted, and 1 ended grant was forgotten; Ontraport was not told.\n" in run.output
    assert left() == (True, 0, 0)


def test_a_copy_from_before_marks_is_adopted_without_a_word_either(account: Any) -> None:
    """Its mark is empty, so that it is taken for the original, whose deleted links are revoked."""
    with new_installation():
        run = Run("adopt-database", "--delete-links", "--yes", "--json")
        assert run.data == {"adopted": True, "links_deleted": 1, "revocations_dropped": 2}
        assert left() == (True, 0, 0)


def test_a_database_that_was_moved_keeps_what_it_owes(copied: None, monkeypatch: pytest.MonkeyPatch) -> None:
    answer(monkeypatch, "y\n")
    run = Run("adopt-database", "--keep-revocations")
    assert "1 ended grant that Ontraport was still to be told of is kept, and told from here." in run.progress
    assert len(run.output.splitlines()) == 2
    assert left() == (True, 1, 1)


def test_without_links_there_is_nothing_to_warn_of(copied: None, monkeypatch: pytest.MonkeyPatch) -> None:
    OntraportAccount.objects.all().delete()
    OntraportRevocation.objects.all().delete()
    for arguments in ([], ["--delete-links"], ["--keep-revocations"]):
        answer(monkeypatch, "n\n")
        assert Run("adopt-database", *arguments).progress == "Adopt this database? [y/N] \n"
    answer(monkeypatch, "y\n")
    assert len(Run("adopt-database", "--delete-links").output.splitlines()) == 2


def test_the_counts_of_several_are_plural(copied: None, monkeypatch: pytest.MonkeyPatch) -> None:
    another = linked("two")
    refreshing.queue_revocation(another, another.refresh_token)
    answer(monkeypatch, "n\n")
    said = Run("adopt-database").progress
    assert "This database holds 2 links." in said
    assert "2 ended grants that Ontraport was still to be told of are forgotten" in said


def test_the_warning_is_whole_on_a_terminal(copied: None, monkeypatch: pytest.MonkeyPatch) -> None:
    answer(monkeypatch, "n\n")
    assert "that is to have links of its own." in Run("adopt-database", stderr=Terminal()).progress


def test_a_machine_says_yes_itself(copied: None) -> None:
    run = Run("adopt-database", "--json")
    assert (run.status, run.problem, left()) == (2, "With --json nobody can be asked: add --yes.", (False, 1, 1))


def test_what_is_ours_already_is_left_alone(copied: None) -> None:
    Run("adopt-database", "--yes")
    run = Run("adopt-database", "--yes", "--delete-links", "--json")
    assert (run.status, run.data["adopted"], left()) == (0, False, (True, 1, 0))
