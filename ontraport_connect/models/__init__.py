"""What is stored: accounts, their history, grants to revoke, and what the site remembers of itself.

One module a table. Nothing here calls the network: ``calls`` looks the wing ``using`` up when an account is used.
"""

from .account import (
    SECRET_FIELDS,
    Method,
    OntraportAccount,
    OntraportAccountQuerySet,
    Status,
    refresh_delay,
)
from .actors import LONGEST_ACTOR, acting
from .attempt import OntraportAttempt
from .budget import OntraportBudget
from .chosen_database import alias, any_database, one_database
from .clock import Now, as_stored, aware
from .event import EventKind, OntraportEvent
from .exact_texts import ExactCharField, exact_collation
from .impersonation import SOMEBODY_ELSE, actor_of
from .labels import is_visible, one_plain_line, validate_label
from .one_connection import while_waiting
from .own_connection import autocommitting, on_new_connection
from .people import (
    are_elsewhere,
    found_by,
    full_name_of,
    is_active,
    is_authenticated,
    is_user,
    name_of,
    owner_is_active,
    owner_is_inactive,
    person_of,
    with_users,
)
from .person_key import PersonKey, forget_user, keep_without_user
from .pooled_connections import is_pooled, limited_transactions
from .revocation import OntraportRevocation
from .spent_token import OntraportSpentToken
from .standing import OntraportService

__all__ = [
    "LONGEST_ACTOR",
    "SECRET_FIELDS",
    "SOMEBODY_ELSE",
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
    "PersonKey",
    "Status",
    "acting",
    "actor_of",
    "alias",
    "any_database",
    "are_elsewhere",
    "as_stored",
    "autocommitting",
    "aware",
    "exact_collation",
    "forget_user",
    "found_by",
    "full_name_of",
    "is_active",
    "is_authenticated",
    "is_pooled",
    "is_user",
    "is_visible",
    "keep_without_user",
    "limited_transactions",
    "name_of",
    "on_new_connection",
    "one_database",
    "one_plain_line",
    "owner_is_active",
    "owner_is_inactive",
    "person_of",
    "refresh_delay",
    "validate_label",
    "while_waiting",
    "with_users",
]
