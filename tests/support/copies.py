"""A database that was copied from another installation, as this process sees it."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from django.test import override_settings

from ontraport_connect.exceptions import OntraportMisconfigured
from ontraport_connect.models import OntraportService


@contextmanager
def new_installation() -> Iterator[str]:
    """An installation with a name that no test had before, so that nothing is known of it in this process."""
    name = f"test-{uuid.uuid4()}"
    with override_settings(ONTRAPORT_INSTALLATION=name):
        yield name


def mark_as_copied() -> None:
    OntraportService.objects.update_or_create(pk=1, defaults={"installation": "elsewhere:0123456789abcdef"})


@contextmanager
def refused() -> Iterator[None]:
    """What is done in here is refused, since the database is a copy."""
    with pytest.raises(OntraportMisconfigured, match="looks like a copy") as raised:
        yield
    assert raised.value.code == "copied_database"
