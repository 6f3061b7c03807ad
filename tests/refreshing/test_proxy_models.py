"""An account that is deleted through a proxy model of the site is revoked and recorded like any other."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.db.models.signals import pre_delete

from ontraport_connect.models import EventKind, OntraportAccount, OntraportEvent, OntraportRevocation
from ontraport_connect.refreshing import deletions
from tests.support.accounts import linked

pytestmark = pytest.mark.django_db(transaction=True)


class ShopAccount(OntraportAccount):
    """A proxy model, as a site makes one for an admin of its own."""

    class Meta:
        app_label = "tests"
        proxy = True


class FlagshipAccount(ShopAccount):
    """A proxy of the proxy."""

    class Meta:
        app_label = "tests"
        proxy = True


@pytest.mark.parametrize("model", [OntraportAccount, ShopAccount, FlagshipAccount])
@pytest.mark.parametrize("way", ["instance", "queryset"])
def test_grant_is_revoked_once_and_the_end_recorded(model: Any, way: str) -> None:
    account = model.objects.get(pk=linked("one").pk)
    if way == "instance":
        account.delete()
    else:
        model.objects.all().delete()
    assert OntraportRevocation.objects.get().refresh_token.reveal() == "r.one.0"
    assert OntraportEvent.objects.get(kind=EventKind.DISCONNECTED).account_uid == account.uid


def test_proxies_that_were_there_first_are_watched_too() -> None:
    pre_delete.disconnect(deletions.queue_on_delete, sender=ShopAccount, dispatch_uid=deletions.PROXY_UID)
    deletions.watch_proxies([ShopAccount, get_user_model()])
    linked("one")
    ShopAccount.objects.get().delete()
    assert OntraportRevocation.objects.count() == 1


def test_models_of_the_site_are_left_alone() -> None:
    """A receiver for all models would cost the site its fast deletes."""
    assert not pre_delete.has_listeners(get_user_model())
