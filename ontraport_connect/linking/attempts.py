"""Linking attempts, stored in the session between the button and the callback: a bounded number, short-lived, each usable once."""

from __future__ import annotations

import base64
import hashlib
import secrets
import time
from dataclasses import asdict, dataclass, fields, replace
from datetime import timedelta

from django.contrib.sessions.backends.base import SessionBase
from django.db import IntegrityError, transaction
from django.utils import timezone

from ontraport_connect.database import alias
from ontraport_connect.encryption import Secret, seal, unseal
from ontraport_connect.exceptions import LinkingFailed
from ontraport_connect.models import OntraportUsedState

SESSION_KEY = "ontraport_connect.attempts"
LIFETIME = 600
"""Seconds for which an attempt can be completed."""

CLOCK_SKEW = 60
"""Seconds by which the clock of the web server that handles the callback may be behind that of the one that started the attempt."""

MAX_ATTEMPTS = 8
MAX_NEXT_LENGTH = 1500
"""Limit on the total length of all stored ``next`` paths. A session may be a cookie, and browsers drop cookies over 4096 bytes."""

STATE_LENGTH = 43


@dataclass(frozen=True, kw_only=True, slots=True)
class Attempt:
    """Who started the attempt, with which parameters, and for which account.

    ``account`` is the ``uid`` of the account to reconnect, empty for a new link. ``verifier`` is the PKCE verifier, encrypted because
    some session stores are cookies that the browser can read. ``started`` is in seconds since the epoch.
    """

    owner: str
    tenant: str | None
    redirect_uri: str
    client_id: str
    issuer: str
    scope: str
    next: str
    account: str
    verifier: str
    started: float

    def open_verifier(self, state: str) -> Secret:
        """Return the PKCE verifier; it is decrypted when it is revealed."""
        sealed = base64.b64decode(self.verifier)
        return Secret(lambda: unseal(sealed, f"verifier:{state}"))


def new_state() -> str:
    """Return a ``state`` of 256 random bits (RFC 6749, 10.12)."""
    return secrets.token_urlsafe(32)


def seal_verifier(state: str, verifier: Secret) -> str:
    """Return the PKCE verifier encrypted, and bound to ``state``, as text for the session."""
    return base64.b64encode(seal(verifier, f"verifier:{state}")).decode()


def keep_attempt(session: SessionBase, state: str, attempt: Attempt) -> None:
    """Store an attempt in the session. Drops the oldest attempts beyond the limits, and a ``next`` that is too long."""
    if len(attempt.next) > MAX_NEXT_LENGTH:
        attempt = replace(attempt, next="")
    attempts = {**session.get(SESSION_KEY, {}), state: asdict(attempt)}
    while len(attempts) > MAX_ATTEMPTS or sum(len(kept["next"]) for kept in attempts.values()) > MAX_NEXT_LENGTH:
        attempts.pop(min(attempts, key=lambda key: attempts[key]["started"]))
    session[SESSION_KEY] = attempts


def find_attempt(session: SessionBase, state: str) -> Attempt | None:
    """Return the attempt stored under ``state``, or ``None``. Changes nothing."""
    kept = session.get(SESSION_KEY, {}).get(state) if len(state) == STATE_LENGTH else None
    return Attempt(**kept) if kept and kept.keys() == {field.name for field in fields(Attempt)} else None


def take_attempt(session: SessionBase, state: str, attempt: Attempt) -> None:
    """Mark an attempt as used and remove it from the session.

    Raises ``LinkingFailed`` when the attempt was used before, also by a concurrent request in another process, or has expired.
    """
    attempts = dict(session.get(SESSION_KEY, {}))
    attempts.pop(state, None)
    session[SESSION_KEY] = attempts
    try:
        with transaction.atomic(using=alias()):
            OntraportUsedState.objects.using(alias()).create(digest=hashlib.sha256(state.encode()).hexdigest())
    except IntegrityError:
        raise LinkingFailed("This connection was already completed or tried.", code="used") from None
    if not -CLOCK_SKEW <= time.time() - attempt.started <= LIFETIME:
        raise LinkingFailed("This attempt took longer than ten minutes.", code="expired")


def forget_used_states() -> None:
    """Delete records of used states whose attempts have expired."""
    OntraportUsedState.objects.using(alias()).filter(at__lt=timezone.now() - timedelta(seconds=2 * LIFETIME)).delete()
