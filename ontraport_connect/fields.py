"""Encrypted fields and their keys.

A value is stored as ``version (1) | key id (8) | nonce (12) | AES-256-GCM ciphertext and tag``. The row's ``uid`` and the
column are the associated data, so a ciphertext copied to another row or column is refused. Keys are derived with
HKDF-SHA256 (RFC 5869) from ``ONTRAPORT_ENCRYPTION_KEYS``, or from ``SECRET_KEY`` and its fallbacks.
"""

from __future__ import annotations

import base64
import binascii
import os
import uuid
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NoReturn

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings
from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models.query_utils import DeferredAttribute
from django_cryptography.fields import EncryptedMixin

from .conf import conf
from .exceptions import OntraportMisconfigured, SecretUnreadable
from .secret import Secret

VERSION = b"\x01"
KEY_ID_LENGTH = 8
NONCE_LENGTH = 12
MINIMUM_KEY_LENGTH = 32
DUMP_PREFIX = "ontraport-sealed:"


class Sealed(bytes):
    """A ciphertext as it stands in the column."""

    def __repr__(self) -> str:
        return f"<sealed, {len(self)} bytes>"

    __str__ = __repr__

    @property
    def key_id(self) -> bytes:
        return bytes(self[1 : 1 + KEY_ID_LENGTH])


@lru_cache(maxsize=32)
def _derive(key: str | bytes) -> tuple[bytes, AESGCM]:
    def expand(info: bytes, length: int) -> bytes:
        return HKDF(algorithm=SHA256(), length=length, salt=None, info=b"ontraport_connect " + info).derive(
            key if isinstance(key, bytes) else key.encode(errors="surrogatepass")
        )

    return expand(b"key id", KEY_ID_LENGTH), AESGCM(expand(b"AES-256-GCM", 32))


def encryption_keys() -> Sequence[str | bytes]:
    """Return the configured keys, newest first: the first encrypts, all decrypt. What is no key at all is left out."""
    keys: Sequence[Any] = conf.ONTRAPORT_ENCRYPTION_KEYS or [settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS]
    return [key for key in keys if isinstance(key, (str, bytes))]


def current_key_id() -> bytes:
    return _newest_key()[0]


def _newest_key() -> tuple[bytes, AESGCM]:
    if conf.ONTRAPORT_ENCRYPTION_KEYS and not _is_fit(conf.ONTRAPORT_ENCRYPTION_KEYS[0]):
        raise OntraportMisconfigured(
            f"The first of ONTRAPORT_ENCRYPTION_KEYS is not a text of {MINIMUM_KEY_LENGTH} characters or more; nothing was"
            " encrypted.",
            code="encryption_key",
        )
    return _derive(encryption_keys()[0])


def _is_fit(key: object) -> bool:
    return isinstance(key, str) and len(key) >= MINIMUM_KEY_LENGTH


def seal(secret: Secret, context: str) -> Sealed:
    """Encrypt a secret under the newest key, bound to ``context``. Raises ``OntraportMisconfigured`` when the key is unfit."""
    key_id, cipher = _newest_key()
    nonce = os.urandom(NONCE_LENGTH)
    return Sealed(
        VERSION
        + key_id
        + nonce
        + cipher.encrypt(nonce, secret.reveal().encode(errors="surrogatepass"), context.encode())
    )


def unseal(sealed: bytes, context: str) -> str:
    """Decrypt what ``seal`` made for the same ``context``. Raises ``SecretUnreadable``; never returns anything else."""
    text = _try_keys(sealed, context)
    if text is None:
        raise SecretUnreadable(
            "A stored secret cannot be decrypted: its key is missing from ONTRAPORT_ENCRYPTION_KEYS (or SECRET_KEY_FALLBACKS),"
            " or the row was altered. Nothing was overwritten; put the key back, or let the customer reconnect."
        )
    return text


def _try_keys(sealed: bytes, context: str) -> str | None:
    if sealed[:1] != VERSION:
        return None
    key_id = sealed[1 : 1 + KEY_ID_LENGTH]
    nonce, body = sealed[1 + KEY_ID_LENGTH :][:NONCE_LENGTH], sealed[1 + KEY_ID_LENGTH + NONCE_LENGTH :]
    for key in encryption_keys():
        known_id, cipher = _derive(key)
        if known_id == key_id:
            try:
                return cipher.decrypt(nonce, body, context.encode()).decode(errors="surrogatepass")
            except (InvalidTag, ValueError):
                return None
    return None


class StoredSecret(Secret):
    """A secret read from its row: decrypted at each ``reveal()``, pickled as its ciphertext."""

    __slots__ = ("context", "sealed")

    def __init__(self, sealed: Sealed, context: str) -> None:
        super().__init__(lambda: unseal(sealed, context))
        self.sealed = sealed
        self.context = context

    def __reduce__(self) -> Any:
        return StoredSecret, (self.sealed, self.context)


class _SecretAttribute(DeferredAttribute):
    """Takes a ``str``, a ``Secret`` or ``None``; reads as a ``Secret`` or ``None``. Nothing is decrypted on the way."""

    field: EncryptedTextField

    def __get__(self, instance: models.Model | None, owner: Any = None) -> Any:
        value = super().__get__(instance, owner)
        if isinstance(value, Sealed) and instance is not None:
            return StoredSecret(value, self.field.context(instance))
        return value

    def __set__(self, instance: models.Model, value: object) -> None:
        if isinstance(value, str):
            value = Secret(value) if value else None
        elif isinstance(value, StoredSecret) and value.context == self.field.context(instance):
            value = value.sealed
        if value is not None and not isinstance(value, (Secret, Sealed)):
            raise TypeError(f"{self.field.attname} takes a str, a Secret or None.")
        instance.__dict__[self.field.attname] = value


if TYPE_CHECKING:
    TextField = models.TextField[str | Secret | None, Any]
else:  # Django's classes take no parameters when they run
    TextField = models.TextField


class EncryptedTextField(EncryptedMixin, TextField):
    """Text encrypted in the column and hidden in memory. The model must have a ``uid``. It has no lookup but ``isnull``."""

    descriptor_class = _SecretAttribute

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("editable", False)
        super().__init__(*args, **kwargs)

    def context(self, instance: Any) -> str:
        """Return what a ciphertext of this column is bound to."""
        return self.context_of(instance.uid)

    def context_of(self, uid: uuid.UUID) -> str:
        return f"{self.model._meta.label_lower}.{self.column}:{uid}"

    def seal_for(self, uid: uuid.UUID, secret: Secret) -> Sealed:
        """Return the value to give to ``QuerySet.update``, which knows no row."""
        return seal(secret, self.context_of(uid))

    def clone(self) -> Any:
        return models.Field.clone(self)

    def deconstruct(self) -> Any:
        return models.TextField.deconstruct(self)

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
            raise TypeError(f"{self.name} is encrypted for its row: assign it to an instance and call save().")
        return connection.Database.Binary(bytes(value))  # type: ignore[attr-defined]

    def from_db_value(self, value: Any, *args: Any, **kwargs: Any) -> Sealed | None:
        return None if value is None else Sealed(value)

    def value_to_string(self, obj: models.Model) -> str:
        """Return the ciphertext for ``dumpdata``: a backup that only this site's keys can read."""
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
