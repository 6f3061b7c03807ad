"""A staging copy of the database, with production's keys and settings, costs production no link, whatever is done in it.

Bug report: https://github.com/anthropics/claude-code/issues/64232.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.db import connection, connections

from ontraport_connect import linking, refreshing
from ontraport_connect.models import OntraportAccount, OntraportEvent, OntraportRevocation
from tests.support import dialects
from tests.support.accounts import linked, token_of
from tests.support.servers import PROJECT
from tests.support.strict_server import StrictServer

pytestmark = pytest.mark.django_db(transaction=True)

Environ = Callable[..., dict[str, str]]

LINKS = 3
COLUMNS = [
    field.attname
    for field in OntraportAccount._meta.fields
    if field.attname not in {"access_token", "refresh_token", "app_id"}
]


class Site:
    """One installation, in processes of its own."""

    def __init__(self, environ: dict[str, str]) -> None:
        self.environ = environ

    def manage(self, *arguments: str, answer: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "django", *arguments],
            cwd=PROJECT,
            env=self.environ,
            input=answer,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    def ontraport(self, *arguments: str, answer: str = "") -> subprocess.CompletedProcess[str]:
        return self.manage("ontraport", *arguments, answer=answer)

    def run(self, script: str) -> str:
        done = self.manage("shell", "-c", script)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def rows(self) -> dict[str, Any]:
        """Return what is in its database, read without a process."""
        own = connections["default"]
        copied = own.copy()
        copied.settings_dict["NAME"] = json.loads(self.environ["TEST_SETTINGS"])["DATABASES"]["default"]["NAME"]
        connections["default"] = copied
        try:
            return {
                "accounts": list(OntraportAccount.objects.order_by("pk").values(*COLUMNS)),
                "revocations": OntraportRevocation.objects.count(),
                "events": list(OntraportEvent.objects.order_by("pk").values_list("kind", "detail")),
            }
        finally:
            copied.close()
            connections["default"] = own


@pytest.fixture
def production(strict: StrictServer) -> list[OntraportAccount]:
    """Links that have been refreshed once, so that the database is marked, and that are due."""
    accounts = [linked(f"g{number}") for number in range(LINKS)]
    assert refreshing.refresh_batch([account.pk for account in accounts]) == {"refreshed": LINKS}
    OntraportAccount.objects.update(refresh_at="2020-01-01T00:00:00Z", expires_at="2020-01-01T00:00:00Z")
    return accounts


@pytest.fixture
def copy(tmp_path: Path) -> Iterator[Callable[[], str]]:
    """Copy the test's database, as an operator does, and return the name of the copy."""
    copies = []

    def copied() -> str:
        name = f"copy_{uuid.uuid4().hex}"
        source = connection.settings_dict["NAME"]
        if connection.vendor == "sqlite":
            with connection.cursor() as cursor:
                cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            return str(shutil.copy2(source, tmp_path / name))
        dialects.copy_database(name)
        copies.append(name)
        return name

    yield copied
    for name in copies:
        dialects.drop_database(name)


@pytest.fixture
def staging(
    production: list[OntraportAccount], copy: Callable[[], str], child_environ: Environ, strict: StrictServer
) -> Site:
    return site_on(copy(), child_environ, **strict.settings)


def site_on(name: str, child_environ: Environ, **settings: Any) -> Site:
    environ = child_environ(**settings)
    handed_over = json.loads(environ["TEST_SETTINGS"])
    handed_over["DATABASES"]["default"]["NAME"] = name
    return Site({**environ, "TEST_SETTINGS": json.dumps(handed_over)})


def assert_production_goes_on(accounts: list[OntraportAccount], strict: StrictServer) -> None:
    assert refreshing.refresh_batch([account.pk for account in accounts]) == {"refreshed": LINKS}
    assert {token_of(account) for account in accounts} == {f"a.g{number}.2" for number in range(LINKS)}
    assert strict.dead == []


def test_refreshing_in_a_copy_sends_nothing_and_changes_no_row(
    staging: Site, production: list[OntraportAccount], strict: StrictServer
) -> None:
    before, requests = staging.rows(), strict.requests
    done = staging.ontraport("refresh", "--all")
    assert (done.returncode, strict.requests) == (1, requests)
    assert done.stderr.count("Its links belong to the original") == 1
    assert done.stderr.splitlines()[-1].endswith(
        "Nothing was sent: this database looks like a copy (see above, or `manage.py ontraport check`)."
    )
    one = staging.ontraport("refresh", str(production[0].uid), "--json")
    assert (one.returncode, json.loads(one.stdout)["error"]) == (1, "copied_database")
    after = staging.rows()
    assert after["accounts"] == before["accounts"]
    assert after["events"][len(before["events"]) :] == [("misconfigured", "copied_database")]
    assert_production_goes_on(production, strict)


def test_the_tasks_of_a_copy_do_nothing(
    staging: Site, production: list[OntraportAccount], strict: StrictServer
) -> None:
    requests = strict.requests
    script = (
        "from celery import current_app\n"
        "current_app.conf.task_always_eager = True\n"
        "from ontraport_connect import tasks\n"
        "from ontraport_connect.models import OntraportAccount\n"
        "pks = list(OntraportAccount.objects.values_list('pk', flat=True))\n"
        "print([tasks.refresh_expiring_tokens(), tasks.refresh_accounts(pks), tasks.check_keys(), tasks.send_notices()])\n"
    )
    done = staging.manage("shell", "-c", script)
    assert done.stdout.splitlines()[-1] == f"[0, {{'copied_database': {LINKS}}}, {{}}, 0]", done.stderr
    assert strict.requests == requests
    assert_production_goes_on(production, strict)


def test_deleting_people_in_a_copy_revokes_nothing(
    staging: Site, production: list[OntraportAccount], strict: StrictServer
) -> None:
    staging.run(
        "from django.contrib.auth.models import User; User.objects.all().delete();"
        "from ontraport_connect import refreshing; refreshing.deliver_revocations(9)"
    )
    rows = staging.rows()
    assert (rows["accounts"], rows["revocations"]) == ([], 0)
    assert rows["events"].count(("disconnected", "copied_database")) == LINKS
    assert_production_goes_on(production, strict)


def test_revocations_that_came_along_are_not_delivered_by_a_copy_and_go_when_it_is_adopted(
    production: list[OntraportAccount], copy: Callable[[], str], child_environ: Environ, strict: StrictServer
) -> None:
    gone = linked("gone", user=get_user_model().objects.create(username="gone"))
    refreshing.queue_revocation(gone, gone.refresh_token)
    staging = site_on(copy(), child_environ, **strict.settings)
    script = "from ontraport_connect import refreshing as r; print(r.deliver_revocations(9))"
    assert staging.run(script).splitlines()[-1] == "0"
    assert (staging.rows()["revocations"], strict.dead) == (1, [])
    done = staging.ontraport("adopt-database", "--yes", "--delete-links", "--json")
    assert json.loads(done.stdout) == {"adopted": True, "links_deleted": LINKS + 1, "revocations_dropped": 1}
    assert staging.ontraport("refresh", "--all").returncode == 0
    assert (staging.rows()["revocations"], strict.dead) == (0, [])
    assert OntraportRevocation.objects.count() == 1
    assert_production_goes_on(production, strict)


def test_a_database_that_takes_the_place_of_another_goes_on_once_it_is_adopted(
    staging: Site, strict: StrictServer
) -> None:
    declined = staging.ontraport("adopt-database", answer="n\n")
    assert (declined.returncode, "each link that is refreshed here ends there" in declined.stderr) == (1, True)
    assert staging.ontraport("refresh", "--all").returncode == 1
    adopted = staging.ontraport("adopt-database", answer="y\n")
    assert (adopted.returncode, "now belongs to this installation" in adopted.stdout) == (0, True)
    done = staging.ontraport("refresh", "--all")
    assert (done.returncode, f"{LINKS} refreshed" in done.stdout) == (0, True), done.stderr
    assert strict.dead == []
    again = staging.ontraport("adopt-database")
    assert (again.returncode, "already belongs" in again.stdout) == (0, True)


def test_the_setting_says_whose_a_database_is_wherever_it_lies(
    production: list[OntraportAccount], copy: Callable[[], str], child_environ: Environ, strict: StrictServer
) -> None:
    """Set before it is moved, a database needs nothing at its new place; a copy that is given another value sends nothing."""
    name, requests = copy(), strict.requests
    moved = site_on(name, child_environ, **strict.settings, ONTRAPORT_INSTALLATION="production")
    moved.run(
        "from ontraport_connect.models import OntraportService as S; S.objects.update(installation='');"
        "from ontraport_connect import refreshing; refreshing.is_own_database()"
    )
    assert moved.ontraport("refresh", "--all").returncode == 0
    assert strict.requests == requests + LINKS
    staging = site_on(name, child_environ, **strict.settings, ONTRAPORT_INSTALLATION="staging")
    assert "another ONTRAPORT_INSTALLATION" in staging.ontraport("refresh", "--all").stderr
    assert strict.requests == requests + LINKS


@pytest.fixture
def adopted(
    production: list[OntraportAccount], copy: Callable[[], str], child_environ: Environ, strict: StrictServer
) -> str:
    """A copy that is its own installation, and is then renamed."""
    name = copy()
    site_on(name, child_environ, **strict.settings).ontraport("adopt-database", "--yes")
    return name


@pytest.mark.sqlite
def test_a_renamed_file_is_the_same_database(adopted: str, child_environ: Environ, strict: StrictServer) -> None:
    renamed = f"{adopted}_renamed"
    Path(adopted).rename(renamed)
    assert site_on(renamed, child_environ, **strict.settings).ontraport("refresh", "--all").returncode == 0


@pytest.mark.postgresql
def test_a_renamed_database_gets_clear_words(adopted: str, child_environ: Environ, strict: StrictServer) -> None:
    renamed = f"{adopted}_renamed"
    with connection._nodb_cursor() as cursor:
        cursor.execute(f'ALTER DATABASE "{adopted}" RENAME TO "{renamed}"')
    try:
        done = site_on(renamed, child_environ, **strict.settings).ontraport("check", "--offline", "--json")
    finally:
        with connection._nodb_cursor() as cursor:
            cursor.execute(f'ALTER DATABASE "{renamed}" RENAME TO "{adopted}"')
    found = [finding for finding in json.loads(done.stdout)["findings"] if finding["subject"] == "installation"]
    assert [finding["level"] for finding in found] == ["error"]
    assert "under another name" in found[0]["text"]
    assert "manage.py ontraport adopt-database" in found[0]["text"]


def test_production_is_untouched_by_the_mark(production: list[OntraportAccount], strict: StrictServer) -> None:
    """The grants of what is deleted there are revoked as before."""
    linking.unlink(linked("alone", user=get_user_model().objects.create(username="alone")))
    assert strict.dead == ["alone"]
