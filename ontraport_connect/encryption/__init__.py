"""Secrets: a value that shows nothing, the encrypted column that holds it, and the keys behind that."""

from .fields import EncryptedTextField, StoredSecret
from .keys import MINIMUM_KEY_LENGTH, Sealed, current_key_id, seal, unseal
from .secret import Secret

__all__ = [
    "MINIMUM_KEY_LENGTH",
    "EncryptedTextField",
    "Sealed",
    "Secret",
    "StoredSecret",
    "current_key_id",
    "seal",
    "unseal",
]
