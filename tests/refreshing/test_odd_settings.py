"""Settings of a wrong type, or with an odd value: nothing is spent and lost, and what is said names the setting."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import pytest
from django.test import override_settings
from django.utils import timezone
from django.utils.functional import SimpleLazyObject

from ontraport_connect.conf import OntraportSettings
from ontraport_connect.exceptions import OntraportError, OntraportUnavailable
from ontraport_connect.models import OntraportAccount, Status
from ontraport_connect.refreshing import batches, circuit_breaker, one_account, recovery
from tests.support.accounts import linked, read
from tests.support.strict_server import StrictServer

pytestmark = pytest.mark.django_db(transaction=True)


def fails() -> None:
    raise RuntimeError("a setting that cannot be read")


ODD: dict[str, Callable[[], Any]] = {
    "none": lambda: None,
    "zero": lambda: 0,
    "negative": lambda: -1,
    "huge": lambda: 1e308,
    "nan": lambda: math.nan,
    "pair of nan": lambda: (3.05, math.nan),
    "pair of zero": lambda: (3.05, 0),
    "text": lambda: "600",
    "long text": lambda: "x" * 600,
    "nul": lambda: "https://app\0.example",
    "surrogate": lambda: "https://app.example/\udce9",
    "bytes": lambda: b"600",
    "list": lambda: ["600"],
    "generator": lambda: (each for each in ["mcp:tools"]),
    "lazy that raises": lambda: SimpleLazyObject(fails),
}

READ_ELSEWHERE = re.compile(
    "AFTER_LINK|MAY|MCP_|MONITORING_TOKEN|NOTIFY|RATE_|REDIRECT_URI|REDIS_URL|REST_URL|SANDBOX|SITE_NAME|TENANT"
)
"""What no refresh reads."""

NAMES = sorted(
    name
    for name in vars(OntraportSettings)
    if not re.match(f"_|uses_|sandbox_|ONTRAPORT_({READ_ELSEWHERE.pattern})", name)
)


def tried(step: Callable[[], object]) -> OntraportError | None:
    """Any other error than one of ours fails the test."""
    try:
        step()
    except OntraportError as error:
        return error
    return None


@pytest.mark.parametrize("name", NAMES)
def test_no_value_of_any_setting_ends_a_link_or_keeps_a_lease(strict: StrictServer, name: str) -> None:
    accounts = [linked(f"g{number}") for number in range(4)]
    for odd in ODD.values():
        with override_settings(**{name: odd()}):
            said = [
                tried(lambda: one_account.refresh(read(accounts[0]))),
                tried(lambda: one_account.ensure_fresh(read(accounts[1]))),
                tried(lambda: batches.refresh_batch([account.pk for account in accounts[2:]])),
                tried(lambda: list(batches.due_batches(10))),
            ]
        for error in said:
            assert error is None or isinstance(error, OntraportUnavailable) or name_of(error) in {name, ""}, str(error)
        let_the_row_be_due()
        assert not OntraportAccount.objects.exclude(lease_until=None).exists()
    recovery.recover_all()
    for account in accounts:
        one_account.refresh(read(account))
    assert strict.dead == []
    assert not OntraportAccount.objects.exclude(status=Status.CONNECTED).exists()


def name_of(error: OntraportError) -> str:
    """Return the setting that the text of an error names first; an empty string for none."""
    found = re.search(r"ONTRAPORT_[A-Z_]+", str(error))
    return found[0] if found else ""


def let_the_row_be_due() -> None:
    circuit_breaker.release()
    now = timezone.now()
    fresh = {"failures": 0, "last_error": "", "client_id": "", "issuer": ""}
    OntraportAccount.objects.update(refresh_at=now, expires_at=now, **fresh)
