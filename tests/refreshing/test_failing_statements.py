"""Each SQL statement of each flow fails in turn: nothing is lost, no unknown grant stays alive, and the next try works.

The statements are not listed: a flow is run with its first statement failing, then with its second, until there is none left to fail.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from celery import Celery
from django.conf import settings
from django.test import override_settings
from django.utils import timezone

from ontraport_connect.models import (
    Method,
    OntraportAccount,
    OntraportAttempt,
    OntraportBudget,
    OntraportEvent,
    OntraportRevocation,
    OntraportService,
    Status,
)
from ontraport_connect.refreshing import spent_tokens
from tests.support.answering import Answering
from tests.support.failing_statements import CONSTRAINED, FAILURES, Failure, NthFails
from tests.support.flows import FLOWS, KEYS, Flow, Ontraport

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[Ontraport, str]]:
    ontraport = Ontraport()
    with Answering(ontraport.reply) as answering:
        yield ontraport, answering.url


@pytest.fixture
def ontraport(server: tuple[Ontraport, str]) -> Iterator[Ontraport]:
    ontraport, url = server
    with override_settings(**ontraport.settings(url)):
        yield ontraport


@pytest.fixture
def app() -> Iterator[Celery]:
    """A Celery app with a broker in memory."""
    app = Celery("tests", broker="memory://", set_as_current=True)
    yield app
    app.control.purge()
    app.close()


def clear(ontraport: Ontraport) -> None:
    """Empty the tables, so that rows which are written only once are written again."""
    ontraport.forget()
    OntraportEvent.objects.all().delete()
    OntraportAccount.objects.all()._raw_delete(using="default")
    for model in (OntraportRevocation, OntraportBudget, OntraportService, OntraportAttempt):
        model._default_manager.all().delete()


def let_the_leases_end() -> None:
    """Let pass what a killed process leaves behind: the lease of an account, and the mark of a revocation that is on its way."""
    OntraportAccount.objects.exclude(lease_until=None).update(lease_until=timezone.now() - timedelta(seconds=1))
    OntraportRevocation.objects.exclude(sent_at=None).update(sent_at=timezone.now() - timedelta(hours=1))


def known() -> set[str]:
    """Return the refresh tokens that this site holds: in an account, in a note beside it, or for revocation."""
    held = [held_by(account) for account in OntraportAccount.objects.filter(refresh_token__isnull=False)]
    return {*held, *(row.refresh_token.reveal() for row in OntraportRevocation.objects.all())}


def held_by(account: Any) -> str:
    """Return the refresh token that came for that of the row, where one did, or else that of the row."""
    held: str = (spent_tokens.successor(account) or account.refresh_token).reveal()
    return held


def assert_nothing_is_lost(ontraport: Ontraport) -> None:
    """No token was spent twice; what lives at Ontraport is known here, or may be shared by a connected account, and then it is not
    revoked; what is connected here is the current token there.
    """
    grants = ontraport.endpoint.grants
    assert [name for name, grant in grants.items() if grant.reuses] == []
    with override_settings(ONTRAPORT_ENCRYPTION_KEYS=[settings.SECRET_KEY, *KEYS]):
        current = {f"r.{name}.{grant.serial}" for name, grant in grants.items() if grant.alive}
        connected = OntraportAccount.objects.filter(method=Method.OAUTH, status=Status.CONNECTED)
        assert current <= known() or connected.exists()
        for account in connected:
            assert held_by(account) in current
            if spent_tokens.successor(account) is None:
                assert account.access_token.reveal() == account.refresh_token.reveal().replace("r.", "a.", 1)


INSERTING = {"link", "reconnect", "refresh in a batch", "disconnect", "link a key pair"}
"""Flows that insert a row with a foreign key."""

CASES = [
    pytest.param(make, failure, id=f"{flow}, {name}", marks=[] if failure.error else pytest.mark.server_database)
    for flow, make in FLOWS.items()
    for name, failure in FAILURES.items()
    if failure.statements != CONSTRAINED or flow in INSERTING
]


@pytest.mark.parametrize(("make", "failure"), CASES)
def test_whatever_statement_fails(
    ontraport: Ontraport, app: Celery, make: Callable[[Ontraport], Flow], failure: Failure
) -> None:
    flow = make(ontraport)
    for number in itertools.count(1):
        clear(ontraport)
        flow.prepare()
        nth = NthFails(number=number, failure=failure)
        try:
            raised = run(flow, nth)
            assert_nothing_is_lost(ontraport)
            if not nth.failed:
                assert raised is None
                flow.assert_done()
                break
            let_the_leases_end()
            flow.again()
            flow.assert_done()
            assert_nothing_is_lost(ontraport)
        except Exception as error:
            error.add_note(f"Statement {number} failed: {nth.failed}")
            raise
    assert number > 1


def run(flow: Flow, nth: NthFails) -> Exception | None:
    """Run the flow with its failing statement, and return the error if it is one that the flow may raise."""
    with nth.installed():
        try:
            flow.run()
        except flow.raises as error:
            return error
    return None
