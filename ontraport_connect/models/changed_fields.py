"""Rows that know what was changed since they were read."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from copy import copy
from typing import Any, Self

from django.db import models


class SavesChanges(models.Model):
    """Remembers the columns as they were read, so that ``save`` can write what was changed and nothing else."""

    class Meta:
        abstract = True

    @classmethod
    def from_db(cls, db: str | None, field_names: Collection[str], values: Collection[Any], **kwargs: Any) -> Self:
        row = super().from_db(db, field_names, values, **kwargs)
        row.remember()
        return row

    def refresh_from_db(
        self, using: str | None = None, fields: Iterable[str] | None = None, from_queryset: Any = None
    ) -> None:
        super().refresh_from_db(using=using, fields=fields, from_queryset=from_queryset)
        self.remember(fields)

    def remember(self, names: Iterable[str] | None = None) -> None:
        """Note that these columns (all, if not said) hold now what the row holds."""
        known = None if names is None else set(names)
        self._loaded: dict[str, Any] = {
            **getattr(self, "_loaded", {}),
            **{
                field.attname: self.__dict__.get(field.attname)
                for field in self._meta.concrete_fields
                if known is None or known & {field.name, field.attname}
            },
        }

    def changed(self) -> set[str]:
        """Return the columns that hold something else than was read: all, of a row that ``bulk_create`` made."""
        loaded = getattr(self, "_loaded", {})
        return {
            field.attname
            for field in self._meta.concrete_fields
            if not field.primary_key and self.__dict__.get(field.attname) != loaded.get(field.attname)
        }

    def take_over(self, current: Self, *, but: Collection[str]) -> None:
        """Take over the values of ``current``, the same row read later, except for the columns in ``but``."""
        self._loaded = {field.attname: current.__dict__[field.attname] for field in self._meta.concrete_fields}
        self.__dict__.update({name: value for name, value in self._loaded.items() if name not in but})

    def was_read_again(self, original: Self) -> bool:
        """Tell whether this instance, a copy of ``original``, has been read from its row since it was copied."""
        return self.__dict__.get("_loaded") is not original.__dict__.get("_loaded")

    def as_read(self) -> Self:
        """Return a copy that holds the columns as they were last read, without later changes."""
        row = copy(self)
        row.__dict__.update(self._loaded)
        return row
