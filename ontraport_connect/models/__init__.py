"""What is stored: accounts, their history, grants to revoke, and what the site remembers of itself.

One module a table. Nothing here calls the network: ``calls`` looks the wing ``using`` up when an account is used.
"""

from .account import (
    SECRET_FIELDS,
    Method,
    OntraportAccount,
    OntraportAccountQuerySet,
    Status,
    forget_user,
    refresh_delay,
)
from .actors import LONGEST_ACTOR, acting
from .attempt import OntraportAttempt
from .budget import OntraportBudget
from .clock import Now
from .event import EventKind, OntraportEvent
from .exact_texts import ExactCharField, exact_collation
from .labels import is_visible, validate_label
from .people import is_active, is_signed_in, owner_is_active, owner_is_inactive
from .revocation import OntraportRevocation
from .spent_token import OntraportSpentToken
from .standing import OntraportService

__all__ = [
    "LONGEST_ACTOR",
    "SECRET_FIELDS",
    "EventKind",
    "ExactCharField",
    "Method",
    "Now",
    "OntraportAccount",
    "OntraportAccountQuerySet",
    "OntraportAttempt",
    "OntraportBudget",
    "OntraportEvent",
    "OntraportRevocation",
    "OntraportService",
    "OntraportSpentToken",
    "Status",
    "acting",
    "exact_collation",
    "forget_user",
    "is_active",
    "is_signed_in",
    "is_visible",
    "owner_is_active",
    "owner_is_inactive",
    "refresh_delay",
    "validate_label",
]
