"""The site's user model, as far as this app depends on it.

Django requires little of a user model: ``is_active`` need not be a column, and need not exist at all, which counts as active
(as in ``ModelBackend.user_can_authenticate``).
"""

from __future__ import annotations

from typing import Any

from django.contrib.auth import get_user_model
from django.core.exceptions import FieldDoesNotExist
from django.db.models import Q


def is_active(user: Any) -> bool:
    """Tell whether the user may use the site. ``None`` is not active."""
    return user is not None and bool(getattr(user, "is_active", True))


def is_signed_in(user: Any) -> bool:
    """Tell whether the ``user`` of a request is a person who may use the site."""
    return user is not None and user.is_authenticated and is_active(user)


def owner_is_active() -> Q:
    """Return the condition on accounts that their user exists and is active."""
    return Q(user__is_active=True) if _has_column() else Q(user__isnull=False)


def owner_is_inactive() -> Q:
    """Return the condition on accounts that their user exists and is not active."""
    return Q(user__is_active=False) if _has_column() else Q(pk__in=[])


def _has_column() -> bool:
    try:
        get_user_model()._meta.get_field("is_active")
    except FieldDoesNotExist:
        return False
    return True
