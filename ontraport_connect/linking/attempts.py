"""Attempts to link, kept in the session between the button and the callback: one entry each, few, short-lived, used once."""

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
MOST = 8
MOST_NEXT = 1500
"""Characters of all the ``next`` kept together: a session may be a cookie, and a browser drops one of more than 4096 bytes."""

STATE_LENGTH = 43


@dataclass(frozen=True, kw_only=True, slots=True)
class Attempt:
    """Who started, from where, and for which account. ``verifier`` is sealed: some session stores are readable cookies."""

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
        sealed = base64.b64decode(self.verifier)
        return Secret(lambda: unseal(sealed, f"verifier:{state}"))


def new_state() -> str:
    """Return 256 random bits as text (RFC 6749, 10.12)."""
    return secrets.token_urlsafe(32)


def seal_verifier(state: str, verifier: Secret) -> str:
    return base64.b64encode(seal(verifier, f"verifier:{state}")).decode()


def keep_attempt(session: SessionBase, state: str, attempt: Attempt) -> None:
    """Remember an attempt; the oldest go when there are too many, and a ``next`` that is too long is forgotten."""
    if len(attempt.next) > MOST_NEXT:
        attempt = replace(attempt, next="")
    attempts = {**session.get(SESSION_KEY, {}), state: asdict(attempt)}
    while len(attempts) > MOST or sum(len(kept["next"]) for kept in attempts.values()) > MOST_NEXT:
        attempts.pop(min(attempts, key=lambda key: attempts[key]["started"]))
    session[SESSION_KEY] = attempts


def find_attempt(session: SessionBase, state: str) -> Attempt | None:
    """Return the attempt that ``state`` belongs to, without changing anything."""
    kept = session.get(SESSION_KEY, {}).get(state) if len(state) == STATE_LENGTH else None
    return Attempt(**kept) if kept and kept.keys() == {field.name for field in fields(Attempt)} else None


def take_attempt(session: SessionBase, state: str, attempt: Attempt) -> None:
    """Use an attempt up. Raises ``LinkingFailed`` when it was used before (also at this very moment, elsewhere) or is too old."""
    attempts = dict(session.get(SESSION_KEY, {}))
    attempts.pop(state, None)
    session[SESSION_KEY] = attempts
    try:
        with transaction.atomic(using=alias()):
            OntraportUsedState.objects.using(alias()).create(digest=hashlib.sha256(state.encode()).hexdigest())
    except IntegrityError:
        raise LinkingFailed("This connection was already completed or tried.", code="used") from None
    if not 0 <= time.time() - attempt.started <= LIFETIME:
        raise LinkingFailed("This attempt took longer than ten minutes.", code="expired")


def forget_used_states() -> None:
    """Forget states that are too old to come back."""
    OntraportUsedState.objects.using(alias()).filter(at__lt=timezone.now() - timedelta(seconds=2 * LIFETIME)).delete()
