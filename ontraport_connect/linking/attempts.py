"""Linking attempts, stored between the button and the callback: a bounded number, short-lived, each usable once.

They are not in the session, since a request that was under way when the button was pressed writes the whole session back without them.
"""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
from dataclasses import asdict, dataclass, fields
from datetime import timedelta
from typing import Any

from django.db import transaction
from django.db.models import F, Q, Value

from ontraport_connect import refreshing
from ontraport_connect.database import alias
from ontraport_connect.encryption import Secret, seal, unseal
from ontraport_connect.exceptions import LinkingFailed
from ontraport_connect.models import Now, OntraportAttempt

LIFETIME = timedelta(minutes=10)
"""How long an attempt can be completed."""

MAX_OF_BROWSER = 8
MAX_OF_PERSON = 64
"""Attempts that are kept, the newest ones: of one person in one browser, and of one person."""

UNDER_WAY = Q(used_at__isnull=False, finished_at=None)
"""The condition on attempts whose code is being exchanged: as long as they are there, nobody's grant is revoked."""

STATE_LENGTH = 43


@dataclass(frozen=True, kw_only=True, slots=True)
class Attempt:
    """Who started the attempt, with which parameters, and for which account.

    ``account`` is the ``uid`` of the account to reconnect, empty for a new link. ``origin`` is the scheme and host on which the attempt
    was started, empty where that is the callback's own. ``verifier`` is the PKCE verifier, encrypted.
    """

    owner: str
    tenant: str | None
    redirect_uri: str
    client_id: str
    issuer: str
    scope: str
    next: str
    origin: str
    account: str
    verifier: str

    def open_verifier(self, state: str) -> Secret:
        """Return the PKCE verifier; it is decrypted when it is revealed."""
        sealed = base64.b64decode(self.verifier)
        return Secret(lambda: unseal(sealed, f"verifier:{state}"))


def new_state() -> str:
    """Return a ``state`` of 256 random bits (RFC 6749, 10.12)."""
    return secrets.token_urlsafe(32)


def seal_verifier(state: str, verifier: Secret) -> str:
    """Return the PKCE verifier encrypted, and bound to ``state``, as text."""
    return base64.b64encode(seal(verifier, f"verifier:{state}")).decode()


def keep_attempt(browser: str, state: str, attempt: Attempt) -> None:
    """Store an attempt that was started in ``browser``, and delete those beyond the limits: used ones first, then the oldest."""
    pk, person = _digest(state), _digest(attempt.owner)
    _rows().create(
        digest=pk, browser=_digest(browser), person=person, values=json.dumps(asdict(attempt)), started_at=Now()
    )
    newest_first = (F("used_at").asc(nulls_first=True), "-started_at")
    others = _rows().filter(person=person).exclude(pk=pk).exclude(UNDER_WAY).order_by(*newest_first)
    kept = list(others.values_list("pk", "browser")[: 2 * MAX_OF_PERSON])
    here = [digest for digest, of in kept if of == _digest(browser)]
    too_many = {*here[MAX_OF_BROWSER - 1 :], *(digest for digest, _of in kept[MAX_OF_PERSON - 1 :])}
    if too_many:
        _rows().filter(pk__in=too_many).delete()


def find_attempt(browser: str, state: str) -> Attempt | None:
    """Return the attempt that was started in ``browser`` with ``state``, used or not, or ``None``. Changes nothing."""
    if not browser or len(state) != STATE_LENGTH:
        return None
    row = _rows().filter(pk=_digest(state), browser=_digest(browser)).first()
    values = json.loads(row.values) if row else {}
    return Attempt(**values) if values.keys() == {field.name for field in fields(Attempt)} else None


def take_attempt(state: str) -> None:
    """Mark an attempt as used. One UPDATE decides, so that one of several processes, or threads, uses it.

    Raises ``LinkingFailed`` when the attempt was used before, or has expired, by the clock of the database.
    """
    row = _rows().filter(pk=_digest(state))
    if not row.filter(used_at=None).update(used_at=Now()):
        raise LinkingFailed("This connection was already completed or tried.", code="used")
    if not row.filter(started_at__gt=Now() - Value(LIFETIME)).exists():
        finish_attempt(state)
        raise LinkingFailed("This attempt took longer than ten minutes.", code="expired")


def finish_attempt(state: str) -> None:
    """Note that nothing more comes of a used attempt: its grant is stored, or there is none."""
    _rows().filter(pk=_digest(state), used_at__isnull=False, finished_at=None).update(finished_at=Now())


def forget_attempts(browser: str, owner: str) -> None:
    """Delete the attempts of the user with the primary key ``owner`` in ``browser``, as when they sign out."""
    _rows().filter(person=_digest(owner), browser=_digest(browser)).exclude(UNDER_WAY).delete()


def forget_old_attempts() -> None:
    """Delete attempts some time after they have expired: until then, an answer that comes late is known as such."""
    old = _rows().filter(started_at__lt=Now() - Value(2 * LIFETIME))
    with refreshing.left_if_locked("old attempts to link"), transaction.atomic(using=alias()):
        refreshing.unlocked(old).delete()


def _rows() -> Any:
    return OntraportAttempt._default_manager.using(alias())


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()
