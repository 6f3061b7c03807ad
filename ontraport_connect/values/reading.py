"""Read one setting as what it has to be: a value of a wrong type, or out of range, is said in words before anything is done with it"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.utils.functional import Promise

from ontraport_connect.exceptions import OntraportMisconfigured

UNUSABLE = "settings"
"""The code of an ``OntraportMisconfigured`` for a setting that is of a wrong type, or out of range."""

CENTURY = 36_500 * 86_400.0
"""Seconds. A longer time leads to dates that no calendar has."""


UNSTORABLE = re.compile("[\\0\\ud800-\\udfff]")
"""What no text may hold that is stored, or sent: PostgreSQL has no NUL, and UTF-8 no half of a surrogate pair. ``os.environ`` has those
where the environment is not UTF-8.
"""


def numbers(name: str, *defaults: float, is_positive: bool = False) -> Any:
    """Return a setting that is a number from 0 (or above it: ``is_positive``) to ``CENTURY``, or a tuple of as many as there are defaults.
    Raises ``OntraportMisconfigured``.
    """
    value = given(name, defaults)
    found = tuple(value) if isinstance(value, (tuple, list)) else (value,)
    if len(found) != len(defaults) or any(type(each) not in {int, float} for each in found):
        raise unfit(name, "a number" if len(defaults) == 1 else "a pair of numbers")
    if not all(math.isfinite(each) and 0 <= each <= CENTURY and (each or not is_positive) for each in found):
        raise unfit(name, "in its range")
    return found if len(defaults) > 1 else found[0]


def duration(name: str, default: float | None) -> Any:
    """Return a setting that is a number, a ``timedelta`` up to a hundred years, or ``None``. Raises ``OntraportMisconfigured``."""
    value = given(name, default)
    if value is None:
        return None
    if not isinstance(value, timedelta):
        return numbers(name, default or 0)
    if not timedelta(0) <= value <= timedelta(seconds=CENTURY):
        raise unfit(name, "in its range")
    return value


def text(name: str, default: str | None, *, is_optional: bool = False) -> str | None:
    """Return a setting that is a text, also one that is computed when it is needed (``gettext_lazy``), or the path of a file. What is
    ``None``, or empty, is ``default``; or ``None``, where it ``is_optional``. Raises ``OntraportMisconfigured``.
    """
    value = given(name, default)
    try:
        is_text = value is None or isinstance(value, (str, Promise, os.PathLike))
        found = str(value) if is_text and value is not None else ""
    except Exception as error:  # noqa: BLE001  # it is computed by code of the site
        raise _failed(name, error) from None
    if not is_text or UNSTORABLE.search(found):
        raise unfit(name, "a string of characters that can be stored and sent")
    return found or (None if is_optional else default)


def texts(name: str, default: Sequence[str] | None) -> Sequence[str] | None:
    """Return a setting that is a list or tuple of texts. Raises ``OntraportMisconfigured``."""
    value: Any = given(name, default)
    if value is None and default is None:
        return None
    if type(value) not in {list, tuple} or not all(isinstance(each, str) for each in value):
        raise unfit(name, "a list of strings")
    found: Sequence[str] = value
    return found


def choice(name: str, default: str) -> str | Mapping[str, str | None]:
    """Return a setting that is a text or a dict. Raises ``OntraportMisconfigured``."""
    value = given(name, default)
    if type(value) not in {str, dict}:
        raise unfit(name, "a string or a dict")
    found: str | Mapping[str, str | None] = value
    return found


def flag(name: str, default: object) -> bool:
    """Return whether a setting is on. Raises ``OntraportMisconfigured``: the text ``"False"`` of an environment is not off."""
    value = given(name, default)
    if value is not None and type(value) not in {bool, int}:
        raise unfit(name, "True or False")
    return bool(value)


def given(name: str, default: object) -> Any:
    """Return a setting as it is. What is computed when it is looked at (``SimpleLazyObject``) is computed here."""
    try:
        value = getattr(settings, name, default)
        isinstance(value, str)
    except Exception as error:  # noqa: BLE001  # it is computed by code of the site
        raise _failed(name, error) from None
    return value


def unfit(name: str, kind: str) -> OntraportMisconfigured:
    return OntraportMisconfigured(f"{name} is not {kind}. `manage.py check` says more.", code=UNUSABLE)


def _failed(name: str, error: Exception) -> OntraportMisconfigured:
    return OntraportMisconfigured(f"{name} cannot be read: {type(error).__name__}.", code=UNUSABLE)
