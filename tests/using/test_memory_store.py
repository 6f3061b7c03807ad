"""A store of a test's own takes the place of Redis and the database."""

from __future__ import annotations

import pytest
from django.test import override_settings

from ontraport_connect.exceptions import OntraportUnavailable
from ontraport_connect.models import OntraportAccount, OntraportBudget
from ontraport_connect.using import counted_in_memory, rate_limiter
from ontraport_connect.using.rate_store import MemoryStore

pytestmark = pytest.mark.django_db


def test_calls_are_counted_for_the_block_only() -> None:
    account = OntraportAccount(ontraport_id="counted in memory")
    with override_settings(ONTRAPORT_RATE_LIMIT=(1, 60)):
        for _ in range(2):
            with counted_in_memory():
                rate_limiter.reserve(account, patience=0)
                with pytest.raises(OntraportUnavailable, match="used up"):
                    rate_limiter.reserve(account, patience=0)
    assert not OntraportBudget.objects.filter(key=rate_limiter.budget_key(account)).exists()


def test_a_state_that_somebody_changed_meanwhile_is_not_written_over() -> None:
    store = MemoryStore()
    first, second = store.load("key"), store.load("key")
    assert (store.replace("key", first, "one"), store.replace("key", second, "two")) == (True, False)
    assert store.load("key").state == "one"
