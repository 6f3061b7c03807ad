"""A model field that encrypts its text (see ``keys``) and binds it to its row and column.

A ciphertext that was copied to another row or column is refused.
"""

from __future__ import annotations

import base64
import binascii
import uuid
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from django.core.exceptions import ImproperlyConfigured
from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models.expressions import Case, Col, Value, When
from django.db.models.functions import Cast
from django.db.models.query_utils import DeferredAttribute

from ontraport_connect.exceptions import SecretUnreadable

from .keys import DUMP_PREFIX, Sealed, require_text, seal, unseal
from .secret import Secret

try:
    from django_cryptography.fields import EncryptedMixin
except ImportError as error:
    raise ImproperlyConfigured(
        "django_cryptography cannot be imported here. Two packages install it under this name, and the one that was installed last counts: "
        "django-cryptography, which works on no Django that is supported, and django-cryptography-5, which this app needs. "
        "Run: pip uninstall --yes django-cryptography django-cryptography-5 && pip install django-cryptography-5"
    ) from error


class StoredSecret(Secret):
    """A secret that was read from its row: decrypted at each ``reveal()``, pickled as its ciphertext."""

    __slots__ = ("context", "sealed")

    def __init__(self, sealed: Sealed, context: str) -> None:
        super().__init__(lambda: unseal(sealed, context))
        self.sealed = sealed
        self.context = context

    def __reduce__(self) -> Any:
        return StoredSecret, (self.sealed, self.context)


class _SecretAttribute(DeferredAttribute):
    """Accepts a ``str``, a ``Secret`` or ``None``, and reads as a ``Secret`` or ``None``. Decrypts nothing."""

    field: EncryptedTextField

    def __get__(self, instance: models.Model | None, owner: Any = None) -> Any:
        value = super().__get__(instance, owner)
        if isinstance(value, Sealed) and instance is not None:
            return StoredSecret(value, self.field.context(instance))
        return value

    def __set__(self, instance: models.Model, value: object) -> None:
        if isinstance(value, str):
            require_text(value)
            value = Secret(value) if value else None
        elif isinstance(value, StoredSecret) and value.context == self.field.context(instance):
            value = value.sealed
        if value is not None and not isinstance(value, (Secret, Sealed)):
            raise TypeError(f"{self.field.attname} takes a str, a Secret or None.")
        instance.__dict__[self.field.attname] = value


if TYPE_CHECKING:
    TextField = models.TextField[str | Secret | None, Any]
else:  # Django's classes take no type parameters at run time
    TextField = models.TextField


class EncryptedTextField(EncryptedMixin, TextField):
    """Text that is encrypted in the database and hidden in memory. The model needs a ``uid``. The only lookup is ``isnull``."""

    descriptor_class = _SecretAttribute

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("editable", False)
        super().__init__(*args, **kwargs)

    def context(self, instance: Any) -> str:
        """Return the context that a ciphertext in this column of the instance's row is bound to."""
        return self.context_of(instance.uid)

    def context_of(self, uid: uuid.UUID) -> str:
        return f"{self.model._meta.label_lower}.{self.column}:{uid}"

    def seal_for(self, uid: uuid.UUID, secret: Secret) -> Sealed:
        """Encrypt a secret for the row with this ``uid``, for ``QuerySet.update``, which has no instance."""
        return seal(secret, self.context_of(uid))

    def clone(self) -> Any:
        return models.Field.clone(self)

    def deconstruct(self) -> Any:
        return models.TextField.deconstruct(self)

    def get_placeholder(self, value: Any, compiler: Any, connection: BaseDatabaseWrapper) -> str:
        """Refuse expressions that may be anything but ciphertext: they bypass ``get_db_prep_value``."""
        self._require_ciphertext(value)
        return "%s"

    def get_placeholder_sql(
        self, value: Any, compiler: Any, connection: BaseDatabaseWrapper
    ) -> tuple[str, Sequence[Any]]:
        """Do the same for Django 6.1 and later."""
        self._require_ciphertext(value)
        return compiler.compile(value) if hasattr(value, "as_sql") else ("%s", [value])

    def _require_ciphertext(self, value: Any) -> None:
        if hasattr(value, "as_sql") and not self._is_ciphertext(value):
            raise self._not_ciphertext()

    def _is_ciphertext(self, expression: Any) -> bool:
        """Tell whether an expression yields only NULL, this column, or ciphertexts that were made for its rows (see ``seal_for``)."""
        if isinstance(expression, Value):
            return expression.value is None or isinstance(expression.value, Sealed)
        if isinstance(expression, Col):
            return expression.target is self
        if isinstance(expression, When):
            return self._is_ciphertext(expression.result)
        return isinstance(expression, (Case, Cast)) and all(
            map(self._is_ciphertext, expression.get_source_expressions())
        )

    def _not_ciphertext(self) -> TypeError:
        return TypeError(f"{self.name} is encrypted for its row: assign it to an instance and call save().")

    def pre_save(self, model_instance: models.Model, add: bool) -> Any:
        value = model_instance.__dict__.get(self.attname)
        if isinstance(value, Secret):
            value = seal(value, self.context(model_instance))
            model_instance.__dict__[self.attname] = value
        return value

    def get_db_prep_value(self, value: Any, connection: BaseDatabaseWrapper, prepared: bool = False) -> Any:
        if value is None:
            return None
        if isinstance(value, StoredSecret):
            value = value.sealed
        if not isinstance(value, Sealed):
            raise self._not_ciphertext()
        return connection.Database.Binary(bytes(value))  # type: ignore[attr-defined]

    def from_db_value(self, value: Any, *args: Any, **kwargs: Any) -> Sealed | None:
        """Return whatever is in the column as a ciphertext: other values, written by hand, are unreadable when they are revealed."""
        if value is None:
            return None
        return Sealed(value if isinstance(value, (bytes, memoryview)) else str(value).encode(errors="surrogatepass"))

    def value_to_string(self, obj: models.Model) -> str:
        """Return the ciphertext for ``dumpdata``: only this site's keys decrypt such a dump."""
        return DUMP_PREFIX + base64.b64encode(self.pre_save(obj, add=False)).decode()

    def to_python(self, value: Any) -> Any:
        if isinstance(value, str) and value.startswith(DUMP_PREFIX):
            try:
                return Sealed(base64.b64decode(value.removeprefix(DUMP_PREFIX), validate=True))
            except binascii.Error:
                _refuse_dump()
        return value


def _refuse_dump() -> NoReturn:
    raise SecretUnreadable("A dumped secret is not valid base64; the file was altered.")
