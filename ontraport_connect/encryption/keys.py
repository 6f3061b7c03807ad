"""Encrypts and decrypts text under the configured keys.

A ciphertext is ``version (1 byte) | key id (8) | nonce (12) | AES-256-GCM ciphertext and tag``. The associated data is its context: the
column and the row's ``uid``. Keys are derived with HKDF-SHA256 (RFC 5869) from ``ONTRAPORT_ENCRYPTION_KEYS``, or from ``SECRET_KEY`` and
its fallbacks.
"""

from __future__ import annotations

import os
import re
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

from .secret import MASK, Secret

VERSION = b"\x01"
KEY_ID_LENGTH = 8
NONCE_LENGTH = 12
MINIMUM_KEY_LENGTH = 32
DUMP_PREFIX = "ontraport-sealed:"

PLACEHOLDER = re.compile(rf"\s*(?:{re.escape(MASK)}|<sealed, \d+ bytes>|{DUMP_PREFIX}.*)\s*", re.DOTALL)
"""What is shown in place of a secret. Code that copies values as text (an export that is imported again) would store it as the secret."""


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
    keys = _own_keys() or [settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS]
    return [key for key in keys if isinstance(key, (str, bytes))]


def _own_keys() -> Sequence[Any]:
    """Return ``ONTRAPORT_ENCRYPTION_KEYS``. A value that is no list is one unfit key, so that nothing is encrypted under ``SECRET_KEY``."""
    keys: Any = conf.ONTRAPORT_ENCRYPTION_KEYS
    return keys if isinstance(keys, (list, tuple)) else [None]


def current_key_id() -> bytes:
    return _newest_key()[0]


def _newest_key() -> tuple[bytes, AESGCM]:
    key = _fit_key()
    if key is None:
        raise OntraportMisconfigured(
            f"The first of ONTRAPORT_ENCRYPTION_KEYS is not a string of {MINIMUM_KEY_LENGTH} characters or more; nothing was"
            " encrypted.",
            code="encryption_key",
        )
    return _derive(key)


def _fit_key() -> str | bytes | None:
    """Return the key that encrypts, or ``None`` where it may not. The frame of whoever raises does not see the keys."""
    own = _own_keys()
    if not own:
        return encryption_keys()[0]
    return own[0] if isinstance(own[0], str) and len(own[0]) >= MINIMUM_KEY_LENGTH else None


def seal(secret: Secret, context: str) -> Sealed:
    """Encrypt a secret under the newest key, bound to ``context``.

    Raises ``OntraportMisconfigured`` when that key is unfit, ``ValueError`` when the text only stands in place of a secret.
    """
    require_text(secret)
    key_id, cipher = _newest_key()
    nonce = os.urandom(NONCE_LENGTH)
    return Sealed(
        VERSION
        + key_id
        + nonce
        + cipher.encrypt(nonce, secret.reveal().encode(errors="surrogatepass"), context.encode())
    )


def is_placeholder(text: str) -> bool:
    """Tell whether a text is one that is shown in place of a secret, such as ``[secret]``."""
    return PLACEHOLDER.fullmatch(text) is not None


def require_text(secret: str | Secret) -> None:
    """Raise ``ValueError`` when the text is one that is shown in place of a secret."""
    if is_placeholder(secret if isinstance(secret, str) else secret.reveal()):
        raise ValueError(
            "This text is not the secret but what is shown in its place; leave secrets out of what is written back."
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
