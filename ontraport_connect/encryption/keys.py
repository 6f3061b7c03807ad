"""Encrypts and decrypts text under the configured keys.

A ciphertext is ``version (1 byte) | key id (8) | nonce (12) | AES-256-GCM ciphertext and tag``. The associated data is its context: the
column and the row's ``uid``. Keys are derived with HKDF-SHA256 (RFC 5869) from ``ONTRAPORT_ENCRYPTION_KEYS``, or from ``SECRET_KEY`` and
its fallbacks.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings

from ontraport_connect.conf import conf
from ontraport_connect.exceptions import OntraportMisconfigured, SecretUnreadable

from .secret import Secret

VERSION = b"\x01"
KEY_ID_LENGTH = 8
NONCE_LENGTH = 12
MINIMUM_KEY_LENGTH = 32


class Sealed(bytes):
    """A ciphertext, as it is stored in the column."""

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
    """Return the configured keys, newest first: the first encrypts, all decrypt. Values that are neither str nor bytes are left out."""
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
    """Encrypt a secret under the newest key, bound to ``context``. Raises ``OntraportMisconfigured`` when that key is unfit."""
    key_id, cipher = _newest_key()
    nonce = os.urandom(NONCE_LENGTH)
    return Sealed(
        VERSION
        + key_id
        + nonce
        + cipher.encrypt(nonce, secret.reveal().encode(errors="surrogatepass"), context.encode())
    )


def unseal(sealed: bytes, context: str) -> str:
    """Decrypt a ciphertext that ``seal`` made for the same ``context``. Raises ``SecretUnreadable`` for anything else."""
    text = _try_keys(sealed, context)
    if text is None:
        raise SecretUnreadable(
            "A stored secret cannot be decrypted: its key is missing from ONTRAPORT_ENCRYPTION_KEYS (or SECRET_KEY_FALLBACKS),"
            " or the row was altered. Nothing was overwritten; put the key back, or let the customer reconnect."
        )
    return text


def _try_keys(sealed: bytes, context: str) -> str | None:
    """Return the text, or ``None`` when no key decrypts it. Does not raise: its frames see the keys."""
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
