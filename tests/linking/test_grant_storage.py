"""A new grant is stored although a deadlock, or another transaction that stores the same account, gets in its way."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import Any

import pytest
from django.db import OperationalError, connection, transaction
from django.test import Client, override_settings

from ontraport_connect.models import OntraportAccount
from tests.support import dialects, ontraport
from tests.support.accounts import user_named
from tests.support.servers import Sandbox, wait_until

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def maya(client: Client, sandbox: Sandbox) -> Iterator[Any]:
    sandbox.revoke()
    user = user_named("maya")
    client.force_login(user)
    with override_settings(**ontraport.settings_for(sandbox.url)):
        yield user


@pytest.mark.parametrize(("number", "links"), [(1213, 1), (1290, 0)])
def test_a_deadlock_is_tried_again_and_no_other_failure(
    client: Client, maya: Any, sandbox: Sandbox, number: int, links: int
) -> None:
    """As MySQL says it: two transactions waited for each other, or the server is read-only."""
    back = ontraport.consent(ontraport.press_connect(client))
    failed: list[str] = []

    def fail_once(execute: Any, sql: str, *args: Any) -> Any:
        if sql.startswith("INSERT") and "ontraportaccount" in sql and not failed:
            failed.append(sql)
            raise OperationalError("try restarting transaction") from Exception(number)
        return execute(sql, *args)

    client.raise_request_exception = False
    with connection.execute_wrapper(fail_once):
        ontraport.come_back(client, back)
    assert (len(failed), OntraportAccount.objects.count()) == (1, links)
    assert any(grant["alive"] for grant in sandbox.state()["grants"]) == bool(links)


@pytest.mark.server_database
def test_who_comes_second_by_a_moment_gets_the_account_of_the_first(
    client: Client, maya: Any, sandbox: Sandbox
) -> None:
    back = ontraport.consent(ontraport.press_connect(client))
    is_there = Event()

    def come_first() -> None:
        try:
            with transaction.atomic():
                OntraportAccount.objects.create(user=maya, ontraport_id="187157")
                is_there.set()
                wait_until(dialects.somebody_waits, "the second to find the first one's row")
        finally:
            connection.close()

    with ThreadPoolExecutor(1) as thread:
        first = thread.submit(come_first)
        assert is_there.wait(10)
        response = ontraport.come_back(client, back)
        first.result()
    assert (response.status_code, response["Location"]) == (302, "/ontraport/")
    assert OntraportAccount.objects.count() == 1
