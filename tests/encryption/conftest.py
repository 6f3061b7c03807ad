"""An account with known secrets, encrypted under a known key."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.contrib.auth import get_user_model
from django.test import override_settings

from ontraport_connect.models import OntraportAccount

from .rows import CANARY, FIRST


@pytest.fixture(scope="module", autouse=True)
def keys() -> Iterator[None]:
    with override_settings(ONTRAPORT_ENCRYPTION_KEYS=[FIRST]):
        yield


@pytest.fixture
def account() -> OntraportAccount:
    user = get_user_model().objects.create_user("maya")
    return OntraportAccount.objects.create(user=user, access_token=CANARY, refresh_token=CANARY + "-refresh")
