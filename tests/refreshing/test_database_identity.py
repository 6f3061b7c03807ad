"""By what a PostgreSQL database is known."""

from __future__ import annotations

import pytest
from django.db import connection, transaction
from django.db.transaction import TransactionManagementError

from ontraport_connect.models import OntraportAccount
from ontraport_connect.refreshing import database_identity

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.postgresql]


def test_a_role_that_may_not_ask_has_no_mark_and_a_transaction_that_goes_on() -> None:
    with connection.cursor() as cursor:
        cursor.execute("CREATE ROLE limited LOGIN PASSWORD 'limited'")
        cursor.execute("REVOKE EXECUTE ON FUNCTION pg_control_system() FROM PUBLIC")
    try:
        with transaction.atomic():
            with connection.cursor() as cursor:
                cursor.execute("SET LOCAL ROLE limited")
            assert database_identity._ask_postgresql(connection) == ()
            with connection.cursor() as cursor:
                cursor.execute("SELECT current_user")
                assert cursor.fetchone() == ("limited",)
    finally:
        with connection.cursor() as cursor:
            cursor.execute("GRANT EXECUTE ON FUNCTION pg_control_system() TO PUBLIC")
            cursor.execute("DROP ROLE limited")


def test_a_broken_transaction_says_so_and_is_not_taken_for_a_missing_permission() -> None:
    with transaction.atomic():
        transaction.set_rollback(True)
        with pytest.raises(TransactionManagementError):
            database_identity._ask_postgresql(connection)
    assert len(database_identity._ask_postgresql(connection)) == 1


def test_a_copy_in_another_schema_is_another_and_the_path_of_a_tenant_is_not() -> None:
    table = OntraportAccount._meta.db_table
    before = database_identity._ask_postgresql(connection)
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("CREATE SCHEMA staging; SET LOCAL search_path TO staging, public")
        assert database_identity._ask_postgresql(connection) == before
        cursor.execute(f"CREATE TABLE staging.{table} (LIKE public.{table})")
        assert database_identity._ask_postgresql(connection) != before
        transaction.set_rollback(True)
