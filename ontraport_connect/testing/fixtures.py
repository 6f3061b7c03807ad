"""The test kit as a pytest fixture: ``ontraport``."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .kit import FakeOntraport, fake_ontraport


@pytest.fixture
def ontraport(db: None) -> Iterator[FakeOntraport]:
    """Ontraport as this test has it: new, without faults, and in this process. Needs pytest-django, and brings the database."""
    with fake_ontraport() as fake:
        yield fake
