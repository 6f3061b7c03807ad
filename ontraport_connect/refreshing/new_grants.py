"""Keeps the making of a grant and the end of another apart: a revocation may end every grant of its person and client (RFC 7009, 2.1).

Whose grant an authorization code is for is not known until it has been exchanged and stored. So each side notes what it begins before it
looks at what the other has begun: a revocation waits for its next turn while a code is being exchanged, and an exchange waits for the
answers to revocations that are on their way.
"""

from __future__ import annotations

import time
from datetime import timedelta

from django.db.models import Q, Value

from ontraport_connect.conf import conf
from ontraport_connect.database import alias
from ontraport_connect.models import Now, OntraportAttempt, OntraportRevocation
from ontraport_connect.protocol import LONGEST_LOOKUP

STORED_WITHIN = 120.0
"""Seconds beyond three times ``ONTRAPORT_TIMEOUT`` after a callback in which its grant is stored, or its process was killed."""

ANSWER_MARGIN = 5.0
"""Seconds beyond ``ONTRAPORT_TIMEOUT`` and the longest lookup of a host name for which the answer to a revocation is waited for."""

LOOK_AGAIN = 0.05
"""Seconds between two looks at whether the revocations have been answered."""


def is_grant_being_made() -> bool:
    """Tell whether a callback has begun to exchange its code, and has not stored the grant yet."""
    attempts = OntraportAttempt._default_manager.using(alias())
    longest = timedelta(seconds=STORED_WITHIN + 3 * sum(conf.ONTRAPORT_TIMEOUT))
    return bool(attempts.filter(finished_at=None, used_at__gt=Now() - Value(longest)).exists())


def wait_for_revocations() -> None:
    """Wait until the revocations that are on their way to Ontraport have been answered, or cannot be any more."""
    on_their_way = OntraportRevocation._default_manager.using(alias()).filter(is_on_its_way())
    while on_their_way.exists():
        time.sleep(LOOK_AGAIN)


def is_on_its_way() -> Q:
    """Return the condition on revocations that somebody has begun to send, and whose answer may still come."""
    longest = sum(conf.ONTRAPORT_TIMEOUT) + LONGEST_LOOKUP + ANSWER_MARGIN
    return Q(sent_at__isnull=False, sent_at__gt=Now() - Value(timedelta(seconds=longest)))
