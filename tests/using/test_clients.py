"""A grant stays with the client that it was made for (RFC 6749, 6), whatever becomes of the site's registration."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs

import pytest
from django.test import override_settings
from django.utils import timezone

from ontraport_connect.models import OntraportAccount, Status
from ontraport_connect.refreshing import (
    batches,
    circuit_breaker,
    client_settings,
    leases,
    one_account,
    outcomes,
    spending,
)
from tests.support.accounts import linked, read, user_named
from tests.support.answering import Answering, Asked, Reply, as_json
from tests.support.strict_server import StrictServer

pytestmark = pytest.mark.django_db(transaction=True)

TOKENS = {"access_token": "new", "refresh_token": "newer", "token_type": "Bearer", "expires_in": 3600}
ADDRESS = "https://site.example/client.json"
GONE = "https://gone.example/client.json"


def reply(asked: Asked) -> Reply:
    """The address that is gone is no client any more."""
    is_gone = parse_qs(asked.body.decode())["client_id"] == [GONE]
    return as_json({"error": "invalid_client"}, 401) if is_gone else as_json(TOKENS)


@pytest.fixture
def server() -> Iterator[Any]:
    with Answering(reply) as server:
        endpoints = {"authorization_endpoint": f"{server.url}/a", "token_endpoint": f"{server.url}/t"}
        with override_settings(ONTRAPORT_ENDPOINTS=endpoints, ONTRAPORT_CLIENT_ID=None, ONTRAPORT_CLIENT_SECRET=None):
            yield server


def test_a_site_that_is_registered_later_keeps_its_earlier_links(server: Any) -> None:
    account = linked("one", client_id=ADDRESS)
    with override_settings(ONTRAPORT_CLIENT_ID="registered", ONTRAPORT_CLIENT_SECRET="hush"):
        one_account.refresh(account)
    sent = parse_qs(server.asked[0].body.decode())
    assert (sent["client_id"], "client_secret" in sent) == ([ADDRESS], False)


def test_an_address_that_is_gone_ends_no_refresh_of_others(server: Any) -> None:
    theirs = linked("theirs", user=user_named("mallory"), client_id=GONE)
    others = [linked(name, user=user_named(name), client_id=ADDRESS) for name in ("one", "two")]
    assert batches.refresh_batch([theirs.pk]) == {"invalid_client": 1}
    assert batches.refresh_batch([account.pk for account in others]) == {"refreshed": 2}
    assert (circuit_breaker.site_standing().hold_code, read(theirs).status, read(theirs).failures) == (
        "",
        Status.CONNECTED,
        1,
    )


def test_an_expiry_that_other_code_sets_during_a_refresh_loses_no_token(strict: StrictServer) -> None:
    account = linked("one")
    other = read(account)
    (lease,) = leases.claim(OntraportAccount.objects.all(), [account.pk], is_probe=False)
    with client_settings.new_transport() as transport:
        outcome = spending.call(lease, transport)
    other.expires_at = timezone.now()
    other.save()
    outcomes.settle(lease, outcome)
    one_account.refresh(read(account))
    assert (read(account).status, strict.dead) == (Status.CONNECTED, [])


def test_a_token_that_other_code_sets_during_a_refresh_leaves_no_lease_behind(strict: StrictServer) -> None:
    account = linked("one")
    (lease,) = leases.claim(OntraportAccount.objects.all(), [account.pk], is_probe=False)
    with client_settings.new_transport() as transport:
        outcome = spending.call(lease, transport)
    other = read(account)
    other.access_token = "imported"
    other.save()
    assert outcomes.settle(lease, outcome) == other
    assert read(account).lease_until is None
