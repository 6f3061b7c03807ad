"""Secrets: a value that does not show its text, the encrypted model field that stores it, and the encryption keys."""

from .fields import EncryptedTextField, StoredSecret
from .keys import MINIMUM_KEY_LENGTH, Sealed, current_key_id, is_placeholder, seal, unseal
from .secret import Secret

__all__ = [
    "MINIMUM_KEY_LENGTH",
    "EncryptedTextField",
    "Sealed",
    "Secret",
    "StoredSecret",
    "current_key_id",
    "is_placeholder",
    "seal",
    "unseal",
]
