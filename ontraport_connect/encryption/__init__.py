"""Secrets: a value that does not show its text, the encrypted model field that stores it, and the encryption keys."""

from .fields import EncryptedTextField, StoredSecret
from .keys import MINIMUM_KEY_LENGTH, Seal, Sealed, current_key_id, is_placeholder, newest_seal, seal, unseal
from .secret import Secret

__all__ = [
    "MINIMUM_KEY_LENGTH",
    "EncryptedTextField",
    "Seal",
    "Sealed",
    "Secret",
    "StoredSecret",
    "current_key_id",
    "is_placeholder",
    "newest_seal",
    "seal",
    "unseal",
]
