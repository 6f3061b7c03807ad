"""What is said to one transaction at a time leaves the connection, and the transactions of others, as they were."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.db import DatabaseError, IntegrityError, connection, transaction

from ontraport_connect.database import short_lock_waits
from tests.support.linked import person

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.postgresql]


@pytest.fixture(autouse=True)
def pooled(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setitem(connection.settings_dict, "DISABLE_SERVER_SIDE_CURSORS", True)
    with short_lock_waits():
        yield


def value_of(sql: str) -> str:
    with connection.cursor() as cursor:
        cursor.execute(sql)
        return str(cursor.fetchone()[0])


def limit_outside() -> str:
    """Return the limit of the session, past the wrapper."""
    return str(connection.connection.execute("SHOW lock_timeout").fetchone()[0])


def names() -> set[str]:
    return set(get_user_model().objects.values_list("username", flat=True))


def test_a_statement_is_limited_and_the_session_is_not() -> None:
    assert (value_of("SHOW lock_timeout"), limit_outside()) == ("1s", "0")
    with transaction.atomic():
        assert value_of("SHOW lock_timeout") == "1s"
    assert limit_outside() == "0"


def test_what_failed_in_a_savepoint_is_rolled_back_and_the_rest_stays() -> None:
    person("maya")
    with transaction.atomic():
        person("tomas")
        with pytest.raises(IntegrityError), transaction.atomic():
            get_user_model().objects.create(username="maya")
        person("ana")
    assert names() == {"maya", "tomas", "ana"}


def test_a_statement_that_fails_leaves_a_connection_that_works() -> None:
    with pytest.raises(DatabaseError):
        value_of("SELECT 1 / 0")
    person("maya")
    assert names() == {"maya"}
    assert not connection.in_atomic_block


def test_an_interruption_in_the_middle_gives_the_connection_up() -> None:
    """Its transaction cannot be rolled back then, and nobody may go on in it."""

    def interrupt(execute: Callable[..., Any], *args: Any) -> Any:
        execute(*args)
        connection.connection.close()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), connection.execute_wrapper(interrupt):
        person("maya")
    assert connection.connection is None
    assert names() == set()
