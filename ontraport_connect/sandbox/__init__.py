"""A stand-in for app., mcp. and api.ontraport.com on one origin, to develop and test against.

The logic is here and knows no Django: messages in, messages out. ``server`` is a Django project of its own that serves it over HTTP, in its
own process (``manage.py ontraport sandbox``). Nothing else of this package imports either; ``ontraport_connect.testing`` uses the logic.
"""

from .accounts import ACCOUNTS, PASSWORD, Account, account_of
from .faults import apply as apply_fault
from .faults import endpoint_of, is_lost
from .lessons import LESSONS
from .memory_grants import MemoryGrants
from .messages import Refused, Reply, Request
from .object_types import CONTACT
from .records import Records
from .stand_in import StandIn
from .switches import CHOICES, FAULT_KINDS, FAULT_TARGETS, Fault

__all__ = [
    "ACCOUNTS",
    "CHOICES",
    "CONTACT",
    "FAULT_KINDS",
    "FAULT_TARGETS",
    "LESSONS",
    "PASSWORD",
    "Account",
    "Fault",
    "MemoryGrants",
    "Records",
    "Refused",
    "Reply",
    "Request",
    "StandIn",
    "account_of",
    "apply_fault",
    "endpoint_of",
    "is_lost",
]
