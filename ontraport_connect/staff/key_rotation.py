"""Re-encrypt every stored secret under the newest key while the site runs. An interrupted run continues where it stopped.

Each ciphertext names its key, so the rows themselves say what is left to do. A row is written only if its version has not changed since
it was read: a refresh in between keeps its new tokens. The version itself stays the same, so that a refresh in flight can still save.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast
from uuid import UUID

from django.db import models, transaction

from ontraport_connect import refreshing
from ontraport_connect.database import alias, row_lock
from ontraport_connect.encryption import EncryptedTextField, Sealed, StoredSecret, current_key_id, unseal
from ontraport_connect.exceptions import SecretUnreadable
from ontraport_connect.models import OntraportAccount, OntraportRevocation

PAGE = 100
"""Rows per page. A page is written in one transaction, which blocks other writers for a few milliseconds: it waits for no row."""

MAX_PASSES = 10
"""How often rows that changed between reading and writing are read again before they are left to the next run."""

LONGEST_WAIT = 30.0
"""Seconds for which a run waits, at the end, for rows that somebody else holds."""

MODELS: Sequence[type[models.Model]] = (OntraportAccount, OntraportRevocation)


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """The secrets of one row, by column, as they were when it was read."""

    model: type[models.Model]
    pk: int
    uid: UUID
    secrets: Mapping[str, Sealed]
    guard: Mapping[str, Any]

    def read(self, name: str) -> None:
        """Decrypt one secret and discard the plain text. Raises ``SecretUnreadable``."""
        unseal(self.secrets[name], _field(self.model, name).context_of(self.uid))

    def unreadable(self) -> list[str]:
        """Return the columns that cannot be decrypted."""
        return [name for name in self.secrets if not self._is_readable(name)]

    def _is_readable(self, name: str) -> bool:
        try:
            self.read(name)
        except SecretUnreadable:
            return False
        return True

    def outdated(self) -> list[str]:
        """Return the columns that are not encrypted with the newest key."""
        newest = current_key_id()
        return [name for name, sealed in self.secrets.items() if sealed.key_id != newest]


@dataclass(kw_only=True, slots=True)
class Summary:
    """What a run did. ``unreadable`` names rows and columns that no configured key decrypts, ``held`` those rows that somebody else has
    locked; they are left unchanged.
    """

    rewritten: int = 0
    current: int = 0
    changed: int = 0
    unreadable: list[tuple[UUID, str]] = field(default_factory=list)
    held: list[Row] = field(default_factory=list)


def pages(model: type[models.Model]) -> Iterator[list[Row]]:
    """Yield all rows of a model with secrets, in pages (keyset pagination)."""
    names = [each.name for each in model._meta.concrete_fields if isinstance(each, EncryptedTextField)]
    guards = [each.name for each in model._meta.concrete_fields if each.name == "version"]
    rows = model._base_manager.using(alias()).order_by("pk").values("pk", "uid", *names, *guards)
    after = 0
    while page := list(rows.filter(pk__gt=after)[:PAGE]):
        yield [
            Row(
                model=model,
                pk=values["pk"],
                uid=values["uid"],
                secrets={name: values[name] for name in names if values[name] is not None},
                guard={name: values[name] for name in ("pk", *guards)},
            )
            for values in page
        ]
        after = page[-1]["pk"]


def count_stored_rows() -> int:
    return sum(model._base_manager.using(alias()).count() for model in MODELS)


def rewrite(row: Row) -> bool:
    """Re-encrypt the secrets of a row. Returns False when the row has changed since it was read. Raises ``SecretUnreadable``."""
    values = {name: _re_sealed(row, name) for name in row.outdated()}
    return bool(row.model._base_manager.using(alias()).filter(**row.guard).update(**values))


def rotate_keys(progress: Callable[[int], object]) -> Summary:
    """Re-encrypt all stored secrets under the newest key. ``progress`` is called with the number of rows seen so far.

    Raises ``OntraportMisconfigured``, before anything is written, when the newest key is not usable.
    """
    current_key_id()
    summary = Summary()
    for _ in range(MAX_PASSES):
        rewritten, summary = summary.rewritten, _run_pass(progress)
        summary.rewritten += rewritten
        if not summary.changed:
            break
    _rewrite_held(summary)
    return summary


def _run_pass(progress: Callable[[int], object]) -> Summary:
    """Tokens that are kept beside their rows go into the rows first; rows that cannot take them now count as changed."""
    summary, seen = Summary(changed=refreshing.recover_all()), 0
    for model in MODELS:
        for page in pages(model):
            _rewrite_page(page, summary)
            seen += len(page)
            progress(seen)
    return summary


def _rewrite_page(page: Sequence[Row], summary: Summary) -> None:
    old = [row for row in page if row.outdated()]
    summary.current += len(page) - len(old)
    if not old:
        return
    rows: Any = old[0].model._base_manager.using(alias()).filter(pk__in=[row.pk for row in old])
    with transaction.atomic(using=alias()):
        there = set(rows.values_list("pk", flat=True))
        free = set(rows.select_for_update(**row_lock()).values_list("pk", flat=True))
        for row in old:
            if row.pk in there - free:
                summary.held.append(row)
            else:
                _rewrite_readable(row, summary)


def _rewrite_held(summary: Summary) -> None:
    """Rewrite what was passed over, each row by itself: to wait for one while others are locked would keep those from being refreshed."""
    held, summary.held = summary.held, []
    until = time.monotonic() + LONGEST_WAIT
    for row in held:
        is_done = False
        if time.monotonic() < until:
            with refreshing.left_if_locked(f"the row of account {row.uid}"):
                _rewrite_readable(row, summary)
                is_done = True
        if not is_done:
            summary.held.append(row)


def _rewrite_readable(row: Row, summary: Summary) -> None:
    unreadable = row.unreadable()
    summary.unreadable += [(row.uid, name) for name in unreadable]
    if unreadable:
        return
    if rewrite(row):
        summary.rewritten += 1
    else:
        summary.changed += 1


def _re_sealed(row: Row, name: str) -> Sealed:
    column = _field(row.model, name)
    return column.seal_for(row.uid, StoredSecret(row.secrets[name], column.context_of(row.uid)))


def _field(model: type[models.Model], name: str) -> EncryptedTextField:
    return cast("EncryptedTextField", model._meta.get_field(name))
