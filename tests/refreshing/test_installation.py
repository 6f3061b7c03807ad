"""A database knows the installation that uses it, and a process knows at no cost whether that is its own."""

from __future__ import annotations

import logging
import os
import sqlite3
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest
from django.db import OperationalError, connection, transaction
from django.db.backends.sqlite3.base import DatabaseWrapper as SQLite
from django.test import override_settings
from django.test.utils import CaptureQueriesContext

from ontraport_connect import linking, refreshing, using
from ontraport_connect.exceptions import OntraportMisconfigured, OntraportUnavailable
from ontraport_connect.models import (
    EventKind,
    OntraportEvent,
    OntraportRevocation,
    OntraportService,
)
from ontraport_connect.refreshing import circuit_breaker, database_identity, installation
from ontraport_connect.refreshing.claiming import Wish, claim_or_see
from ontraport_connect.refreshing.leases import Lease
from tests.refreshing.test_crashes import let_the_lease_end
from tests.support.accounts import linked, read, token_of, user_named
from tests.support.copies import mark_as_copied, new_installation, refused
from tests.support.databases import sqlite
from tests.support.mariadb import MariaDB
from tests.support.servers import HOST, PROJECT, PostgreSQL
from tests.support.strict_server import StrictServer

pytestmark = pytest.mark.django_db(transaction=True)

READ_ONLY = {
    "sqlite": ("PRAGMA query_only = ON", "PRAGMA query_only = OFF"),
    "mysql": ("SET SESSION TRANSACTION READ ONLY", "SET SESSION TRANSACTION READ WRITE"),
    "postgresql": ("SET default_transaction_read_only = on", "RESET default_transaction_read_only"),
}


@pytest.fixture
def named() -> Iterator[str]:
    with new_installation() as name:
        yield name


def site_events() -> list[tuple[str, str]]:
    return list(OntraportEvent.objects.filter(account=None).order_by("pk").values_list("kind", "detail"))


def test_the_first_refresh_marks_the_database_and_later_ones_pay_nothing(strict: StrictServer) -> None:
    first, second = linked("one"), linked("two", expires_in=3600)
    assert second.user.is_active
    assert refreshing.stored_mark() == ""
    refreshing.refresh(first)
    assert refreshing.stored_mark() == installation.marks_of("default")[0]
    assert len(refreshing.stored_mark()) == 64
    with CaptureQueriesContext(connection) as captured:
        using.prepare(second)
    assert [query["sql"] for query in captured if "ontraportservice" in query["sql"]] == []
    with CaptureQueriesContext(connection) as captured:
        refreshing.refresh(second)
    statements = [query["sql"] for query in captured if "ontraportservice" in query["sql"]]
    assert len(statements) == 1, statements  # the look at the hold, which a refresh always costs
    assert (strict.requests, strict.dead) == (2, [])


def test_in_a_copy_nothing_is_spent_and_no_row_changes(strict: StrictServer, named: str) -> None:
    account = linked("one")
    mark_as_copied()
    before = vars(read(account))
    with refused():
        refreshing.refresh(account)
    with refused():
        using.prepare(linked("valid", expires_in=3600))
    assert refreshing.refresh_batch([account.pk]) == {"copied_database": 1}
    with transaction.atomic():
        assert refreshing.refresh_batch([account.pk]) == {"copied_database": 1}
    assert not refreshing.may_refresh()
    assert refreshing.is_site_refused()
    after = vars(read(account))
    assert {name: value for name, value in after.items() if name[0] != "_"} == {
        name: value for name, value in before.items() if name[0] != "_"
    }
    assert strict.requests == 0


@pytest.mark.parametrize("has_ended", [False, True])
def test_in_a_copy_nobody_waits_for_who_was_refreshing_when_it_was_made(
    strict: StrictServer, named: str, has_ended: bool
) -> None:
    account = linked("one", expires_in=1800)
    claimed = claim_or_see(read(account), Wish(forced=True))
    assert isinstance(claimed, Lease)
    if has_ended:
        let_the_lease_end()
    with new_installation():
        with refused():
            refreshing.refresh(account)
        with transaction.atomic(), refused():
            refreshing.refresh(account)
    assert strict.requests == 0


def test_a_database_that_is_replaced_beneath_a_running_process_is_noticed(
    strict: StrictServer, named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A nightly restore of production's dump into staging, whose workers go on running."""
    account = linked("one", expires_in=3600)
    refreshing.refresh(account)
    mark_as_copied()
    using.prepare(account)
    with refused():
        refreshing.refresh(account)
    with refused():  # since the refresh has noticed
        using.prepare(account)
    installation.adopt_database()
    using.prepare(account)
    mark_as_copied()
    monkeypatch.setattr(installation, "LOOK_AGAIN_AFTER", 0.0)
    with refused():
        using.prepare(account)
    assert strict.requests == 1


@pytest.mark.parametrize("step", [linking.unlink, lambda account: refreshing.deliver_revocations(10)])
def test_a_dump_that_is_restored_beneath_a_process_revokes_nothing(strict: StrictServer, named: str, step: Any) -> None:
    """A moment ago the mark was its own: a call that only reads may go by that, and a revocation may not."""
    waiting, account = linked("one"), linked("two", user=user_named("tomas"))
    refreshing.queue_revocation(waiting, waiting.refresh_token)
    waiting.delete()
    refreshing.refresh(account)
    mark_as_copied()
    number = OntraportRevocation.objects.count()
    step(read(account))
    assert (strict.dead, OntraportRevocation.objects.count()) == ([], number)


def test_it_is_said_once_in_the_log_and_once_in_the_history(named: str, caplog: pytest.LogCaptureFixture) -> None:
    mark_as_copied()
    for _ in range(3):
        assert not refreshing.is_own_database()
    assert [record.levelno for record in caplog.records] == [logging.CRITICAL]
    assert site_events() == [(EventKind.MISCONFIGURED, "copied_database")]
    with override_settings(ONTRAPORT_INSTALLATION=f"{named}, another process"):
        assert not refreshing.is_own_database()
    assert len(site_events()) == 1
    installation.adopt_database()
    with override_settings(ONTRAPORT_INSTALLATION=f"{named}, a copy of that"):
        assert not refreshing.is_own_database()
    assert [detail for _, detail in site_events()] == ["copied_database", "adopted_database", "copied_database"]


def test_inside_a_transaction_nothing_is_recorded_that_it_could_undo_or_lock(named: str) -> None:
    with transaction.atomic():
        assert refreshing.is_own_database()
    assert refreshing.stored_mark() == ""
    assert not circuit_breaker.is_site_refused()  # reads the row, and records
    assert refreshing.stored_mark() == installation.marks_of("default")[0]
    mark_as_copied()
    with transaction.atomic(), refused():
        circuit_breaker.enter()
    assert site_events() == []
    assert not refreshing.is_own_database()
    assert site_events() == [(EventKind.MISCONFIGURED, "copied_database")]


def test_a_row_that_is_there_already_is_marked_once(named: str) -> None:
    circuit_breaker.site_standing()
    assert refreshing.is_own_database()
    assert refreshing.stored_mark().startswith("setting:")


def test_a_database_that_can_only_be_read_is_judged_all_the_same(named: str) -> None:
    on, off = READ_ONLY[connection.vendor]
    circuit_breaker.site_standing()
    with connection.cursor() as cursor:
        cursor.execute(on)
        try:
            assert refreshing.is_own_database()
            assert refreshing.stored_mark() == ""
        finally:
            cursor.execute(off)
        mark_as_copied()
        with override_settings(ONTRAPORT_INSTALLATION=f"{named}, reading"):
            cursor.execute(on)
            try:
                assert not refreshing.is_own_database()
            finally:
                cursor.execute(off)
    assert site_events() == []


def test_while_the_database_is_away_a_process_goes_on_that_knows_it(
    named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    account = linked("one", expires_in=3600)
    assert account.user.is_active
    monkeypatch.setattr(installation, "LOOK_AGAIN_AFTER", 0.0)

    def fail(*args: Any) -> None:
        raise OperationalError("the server closed the connection")

    with connection.execute_wrapper(fail), pytest.raises(OntraportUnavailable):
        using.prepare(account)
    using.prepare(account)
    with connection.execute_wrapper(fail):
        using.prepare(account)


@pytest.mark.parametrize(
    ("stored", "setting", "words"),
    [
        ("setting:other", "mine", "under another ONTRAPORT_INSTALLATION"),
        ("setting:other", None, "all processes of a site need the same"),
        ("postgresql:other", "mine", "before ONTRAPORT_INSTALLATION was set"),
        ("postgresql:other", None, "on another database server, under another name, or .SQLite. as another file"),
    ],
)
def test_the_operator_is_told_why_and_what_to_do(stored: str, setting: str | None, words: str) -> None:
    OntraportService.objects.create(pk=1, installation=stored)
    with (
        override_settings(ONTRAPORT_INSTALLATION=setting),
        pytest.raises(OntraportMisconfigured, match=words) as raised,
    ):
        circuit_breaker.enter()
    assert str(raised.value).endswith(
        "If this database takes the place of the original (it was moved, renamed or restored), or if you have only just set"
        " ONTRAPORT_INSTALLATION, run `manage.py ontraport adopt-database --keep-revocations`."
    )
    assert "nothing is revoked" in str(raised.value)


def test_the_same_setting_is_the_same_installation_wherever_the_database_is(strict: StrictServer, named: str) -> None:
    account = linked("one")
    refreshing.refresh(account)
    with override_settings(ONTRAPORT_INSTALLATION=None), refused():
        refreshing.refresh(account)
    with override_settings(ONTRAPORT_INSTALLATION=named):
        refreshing.refresh(account)
    assert token_of(account) == "a.one.2"


def test_what_has_no_identity_is_refused_only_where_the_mark_cannot_be_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """MariaDB, SQLite in memory, a PostgreSQL that tells nothing: rather unnoticed than a false alarm."""
    monkeypatch.setattr(database_identity, "IDENTITIES", {})
    assert installation.marks_of("default") == ()
    assert refreshing.is_own_database()
    assert refreshing.stored_mark() == ""
    OntraportService.objects.create(pk=1, installation=f"{connection.vendor}:known-when-it-was-recorded")
    circuit_breaker.enter()
    for mark in ("setting:staging-does-not-have-it", "oracle:a-dump-of-another-kind-of-server"):
        OntraportService.objects.update(installation=mark)
        with refused():
            circuit_breaker.enter()
    installation.adopt_database()
    assert refreshing.stored_mark() == ""


def open_sqlite(file: object) -> Any:
    entry = {**connection.settings_dict, **sqlite(Path("unused")), "NAME": str(file)}
    return SQLite(entry, alias=f"test-{uuid.uuid4()}")


def marks_of_file(file: object) -> tuple[str, ...]:
    database = open_sqlite(file)
    try:
        return database_identity.identity_of(database)
    finally:
        if database.connection is not None:
            database.connection.close()  # Django keeps a database in memory open


def execute(file: Path, statement: str) -> None:
    with closing(sqlite3.connect(file, isolation_level=None)) as raw:
        raw.execute(statement)


def test_a_file_is_itself_after_a_vacuum_under_another_name_and_by_any_path(tmp_path: Path) -> None:
    file = tmp_path / "site.sqlite3"
    execute(file, "CREATE TABLE anything (name TEXT)")
    (mark,) = marks_of_file(file)
    execute(file, "VACUUM")
    (tmp_path / "link.sqlite3").symlink_to(file)
    assert marks_of_file(file) == marks_of_file(tmp_path / "link.sqlite3") == (mark,)
    moved = file.rename(tmp_path / "moved.sqlite3")
    assert marks_of_file(moved) == (mark,)
    execute(moved, f"VACUUM INTO '{tmp_path / 'copy.sqlite3'}'")
    assert marks_of_file(tmp_path / "copy.sqlite3") != (mark,)


def test_what_is_in_no_file_has_no_mark(tmp_path: Path) -> None:
    assert marks_of_file(":memory:") == ()
    file = tmp_path / "gone.sqlite3"
    database = open_sqlite(file)
    assert len(database_identity.identity_of(database)) == 1
    file.unlink()
    assert database_identity.identity_of(database) == ()
    database.close()


class MySQL:
    """What Django's connection to MySQL, or MariaDB, shows of a server that does not run here."""

    vendor = "mysql"

    def __init__(self, *answer: Any, cluster: str | None = None) -> None:
        self.alias = f"mysql-{uuid.uuid4()}"
        self.settings_dict = {"NAME": "shop"}
        self.mysql_is_mariadb = len(answer) > 2
        self.answer = (*answer, "shop")
        self.statuses = [] if cluster is None else [(cluster,)]

    @contextmanager
    def cursor(self) -> Iterator[Any]:
        yield SimpleNamespace(
            execute=lambda statement: None, fetchone=lambda: self.answer, fetchall=lambda: self.statuses
        )


def test_a_mysql_replica_that_takes_over_is_known_by_what_it_has_replayed() -> None:
    first, second = "3e11fa47-71ca-11e1-9e33-c80aa9429562", "A3E11FA4-71CA-11E1-9E33-C80AA9429562"
    (mark,) = database_identity.identity_of(MySQL(first, ""))
    assert mark in database_identity.identity_of(MySQL(first, f"{first}:1-5"))
    replica = database_identity.identity_of(MySQL(second, f"{first}:1-5:11-18,\n{second}:1-27"))
    assert (mark in replica, replica[0] == mark, len(replica)) == (True, False, 2)
    assert mark not in database_identity.identity_of(MySQL(second, ""))


def mariadb(host: str, *, replayed: str = "", cluster: str | None = "") -> tuple[str, ...]:
    return database_identity.identity_of(MySQL(host, 3306, "/var/lib/mysql/", replayed, cluster=cluster))


def test_a_mariadb_is_known_by_its_host_or_its_cluster_and_not_by_names_of_the_moment() -> None:
    (mark,) = mariadb("db1.shop.example")
    assert mariadb("db1.shop.example", cluster=None) == (mark,)
    assert mariadb("db2.shop.example") != (mark,)
    assert mariadb("db1", cluster="d67e-1") == mariadb("db2", cluster="d67e-1") != mariadb("db2", cluster="d67e-2")
    for host in ("3f2a9c0d1b7e", "ip-10-0-12-7", "ip-10-0-12-7.ec2.internal"):
        assert mariadb(host) == ()
    assert mariadb("db1.shop.example", replayed="0-1-270") == ()


MARK = "from ontraport_connect.refreshing import installation; print(*installation.marks_of('default'))"


def mark_in(environ: dict[str, str]) -> str:
    """The mark as a process of its own finds it."""
    done = subprocess.run(
        [sys.executable, "-c", f"import django; django.setup(); {MARK}"],
        cwd=PROJECT,
        env=environ,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def test_another_process_finds_the_same_mark(child_environ: Callable[..., dict[str, str]]) -> None:
    assert mark_in(child_environ()) == installation.marks_of("default")[0]


@pytest.mark.server_database
def test_a_server_that_restarts_is_the_same(
    database_server: PostgreSQL | MariaDB, child_environ: Callable[..., dict[str, str]]
) -> None:
    before = mark_in(child_environ())
    connection.close()
    database_server.restart()
    assert mark_in(child_environ()) == before != ""


@pytest.mark.postgresql
def test_a_replica_that_takes_over_is_the_same(
    postgresql: PostgreSQL, child_environ: Callable[..., dict[str, str]]
) -> None:
    """A real one: streamed by ``pg_basebackup``, then promoted."""
    replica = PostgreSQL()
    try:
        replica.password = postgresql.password
        subprocess.run(
            [replica.bin / "pg_basebackup", f"--pgdata={replica.data}", "--write-recovery-conf", "--checkpoint=fast"],
            check=True,
            env={
                **os.environ,
                "PGHOST": HOST,
                "PGPORT": str(postgresql.port),
                "PGUSER": postgresql.user,
                "PGPASSWORD": postgresql.password,
            },
            cwd=replica.directory,
            user=replica.system_user,
        )
        replica.start()
        entry = {**connection.settings_dict, "PORT": replica.port}
        del entry["TEST"]
        with closing(psycopg.connect(**params_of(replica), autocommit=True)) as raw:
            raw.execute("SELECT pg_promote()")
        assert mark_in(child_environ(DATABASES={"default": entry})) == installation.marks_of("default")[0]
    finally:
        replica.remove()


def params_of(server: PostgreSQL) -> dict[str, Any]:
    return {
        "host": HOST,
        "port": server.port,
        "user": server.user,
        "password": server.password,
        "dbname": connection.settings_dict["NAME"],
    }
