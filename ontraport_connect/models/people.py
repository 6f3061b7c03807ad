"""The site's user model, as far as this app depends on it.

Django requires little of a user model: ``is_active`` need not be a column, and need not exist at all, which counts as active
(as in ``ModelBackend.user_can_authenticate``). The users may be in another database than this app's tables; then no query can
join the two, and the users are asked for by their keys.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeVar

from django.apps import apps
from django.contrib.auth import get_user_model
from django.core.exceptions import FieldDoesNotExist, SynchronousOnlyOperation
from django.db import Error as DatabaseFailure
from django.db import router
from django.db.models import Q, QuerySet

Rows = TypeVar("Rows", bound="QuerySet[Any]")

CHUNK = 1000
"""How many users are asked for in one query. SQLite takes up to 32,766 parameters."""


def is_active(user: Any) -> bool:
    """Tell whether the user may use the site. ``None`` is not active."""
    return user is not None and bool(getattr(user, "is_active", True))


def person_of(request: Any) -> Any:
    """Return the person who makes this request: a user of the site who may use it. ``None`` if nobody is signed in.

    ``request.user`` may be missing, or ``None``, or stand for something else that has signed in: a client with an API key, a row of
    another model, what a token says of somebody. All of them are nobody here. Their key is no user's key, even if it is the same number.
    """
    user = getattr(request, "user", None)
    return user if is_authenticated(user) and is_user(user) and is_active(user) else None


def is_authenticated(user: Any) -> bool:
    """Tell whether ``request.user`` says that somebody, or something, is signed in."""
    return user is not None and bool(user.is_authenticated)


def is_user(user: Any) -> bool:
    """Tell whether this is a row of the site's user model, by the rule by which Django takes it for the value of a foreign key."""
    return isinstance(user, get_user_model()._meta.concrete_model or ()) and user.pk is not None


def name_of(user: Any) -> str:
    """Return the user name; the primary key of somebody who has none, or whose model fails to tell it."""
    return _text_of(user, "get_username") or str(user.pk)


def full_name_of(user: Any) -> str:
    """Return what a person is called, or an empty string. A user model need not know it."""
    return _text_of(user, "get_full_name")


def _text_of(user: Any, method: str) -> str:
    try:
        text = getattr(user, method, str)()
        return "" if text is None else str(text)
    except (DatabaseFailure, SynchronousOnlyOperation):  # not the model's fault
        raise
    except Exception:  # noqa: BLE001  # whatever a site's model raises: nobody's link fails for a name
        return ""


def database() -> str:
    """Return the database that users are written to."""
    return router.db_for_write(get_user_model())


def are_elsewhere() -> bool:
    """Tell whether users are in another database than the accounts."""
    return database() != router.db_for_write(apps.get_model("ontraport_connect", "OntraportAccount"))


def with_users(rows: Rows, *others: str) -> Rows:
    """Read the users along with the rows, and ``others``, relations within the rows' database."""
    if are_elsewhere():
        rows = rows.prefetch_related("user")
        return rows.select_related(*others) if others else rows
    return rows.select_related("user", *others)


def owner_is_active(accounts: QuerySet[Any]) -> Q:
    """Return the condition on ``accounts`` that their user exists and is active."""
    if are_elsewhere():
        return Q(user__isnull=False) & ~Q(user__in=_inactive(accounts))
    return Q(user__is_active=True) if _has_column() else Q(user__isnull=False)


def owner_is_inactive(accounts: QuerySet[Any]) -> Q:
    """Return the condition on ``accounts`` that their user is not active. Users in another database who are gone count as inactive."""
    if are_elsewhere():
        return Q(user__in=_inactive(accounts))
    return Q(user__is_active=False) if _has_column() else Q(pk__in=[])


def found_by(condition: Q) -> Q:
    """Return the condition on accounts that their user, in another database, is one of the first whom ``condition`` finds."""
    users: Any = get_user_model()._base_manager
    return Q(user__in=list(users.using(database()).filter(condition).values_list("pk", flat=True)[:CHUNK]))


def _inactive(accounts: QuerySet[Any]) -> list[Any]:
    """Return the keys of those users of ``accounts`` who are not active in another database, or gone from it."""
    owners = list(accounts.exclude(user=None).order_by().values_list("user_id", flat=True).distinct())
    return sorted(set(owners) - set(_active(owners)), key=str)


def _active(pks: list[Any]) -> Iterable[Any]:
    users: Any = get_user_model()._base_manager
    condition = {"is_active": True} if _has_column() else {}
    for start in range(0, len(pks), CHUNK):
        found = users.using(database()).filter(pk__in=pks[start : start + CHUNK], **condition)
        yield from found.values_list("pk", flat=True)


def _has_column() -> bool:
    try:
        get_user_model()._meta.get_field("is_active")
    except FieldDoesNotExist:
        return False
    return True
