"""Routers with which this app cannot work are said by ``manage.py check``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.test import override_settings

from ontraport_connect.checks import check_settings
from ontraport_connect.models import OntraportAccount, OntraportEvent

APP = "ontraport_connect"


class UsersElsewhere:
    """Without ``allow_relation``, Django relates rows of one database only."""

    def db_for_read(self, model: Any, **hints: Any) -> str:
        return "customers" if model._meta.app_label == APP else "default"

    db_for_write = db_for_read


class Replica:
    def db_for_read(self, model: Any, **hints: Any) -> str:
        return "replica"

    def db_for_write(self, model: Any, **hints: Any) -> str:
        return "default"


class HistoryFromReplica(Replica):
    """People and links are related, and links and history are not."""

    def db_for_read(self, model: Any, **hints: Any) -> str:
        return "replica" if model is OntraportAccount else "default"

    def allow_relation(self, first: Any, second: Any, **hints: Any) -> bool | None:
        return True if isinstance(first, get_user_model()) else None


class Related:
    def allow_relation(self, first: Any, second: Any, **hints: Any) -> bool:
        return True


class Scattered(Related):
    def db_for_write(self, model: Any, **hints: Any) -> str:
        return "history" if model is OntraportEvent else "default"


class NotMigrated(Related, UsersElsewhere):
    def allow_migrate(self, db: str, app_label: str, **hints: Any) -> bool:
        return db == "default"


class Migrated(Related, UsersElsewhere):
    def allow_migrate(self, db: str, app_label: str, **hints: Any) -> bool:
        return (db == "customers") == (app_label == APP)


def found(*routers: type) -> list[tuple[str, str]]:
    with override_settings(DATABASE_ROUTERS=[f"{__name__}.{each.__name__}" for each in routers]):
        return [
            (str(message.id).removeprefix(f"{APP}."), message.msg)
            for message in check_settings(None)
            if message.id in {f"{APP}.E032", f"{APP}.E033", f"{APP}.W021"}
        ]


@pytest.mark.parametrize("routers", [[], [Migrated], [Replica, Related], [UsersElsewhere, Related]], ids=str)
def test_routers_that_fit_are_not_mentioned(routers: list[type]) -> None:
    assert found(*routers) == []


@pytest.mark.parametrize(
    ("of_router", "words"),
    [
        (UsersElsewhere, "OntraportAccount in 'customers' to auth.User in 'default'"),
        (Replica, "OntraportAccount in 'default' to auth.User in 'replica'"),
        (HistoryFromReplica, "OntraportEvent in 'default' to ontraport_connect.OntraportAccount in 'replica'"),
    ],
)
def test_a_relation_that_the_routers_refuse_is_an_error(of_router: type, words: str) -> None:
    ((check_id, said),) = found(of_router)
    assert check_id == "E033"
    assert words in said


@pytest.mark.parametrize(
    ("of_router", "kept", "place", "taken"),
    [
        (UsersElsewhere, get_user_model(), "default", lambda row: OntraportAccount(user=row)),
        (Replica, get_user_model(), "replica", lambda row: OntraportAccount(user=row)),
        (HistoryFromReplica, OntraportAccount, "replica", lambda row: OntraportEvent(account=row)),
    ],
)
def test_that_is_what_django_refuses(of_router: type, kept: Any, place: str, taken: Callable[[Any], object]) -> None:
    row = kept()
    row._state.db = place
    with (
        override_settings(DATABASE_ROUTERS=[f"{__name__}.{of_router.__name__}"]),
        pytest.raises(ValueError, match="router prevents this relation"),
    ):
        taken(row)


def test_tables_in_several_databases_are_an_error() -> None:
    ((check_id, said),) = found(Scattered)
    assert check_id == "E032"
    assert "default, history" in said


def test_tables_that_are_not_made_where_they_are_looked_for_are_a_warning() -> None:
    ((check_id, said),) = found(NotMigrated)
    assert check_id == "W021"
    assert "'customers'" in said


def test_a_models_own_way_to_read_a_row_is_not_asked_for_one_that_does_not_exist(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def from_db(*args: Any) -> None:
        pytest.fail("the site's own from_db expects a row that is real")

    monkeypatch.setattr(get_user_model(), "from_db", from_db)
    assert found() == []
