"""What the model of links over their whole life is made of (see ``lifecycle``).

Time is the model's own, in seconds from 0. A *claim* is a refresh in progress in some process. A claim that is never settled belongs to a
process that was killed: its row stays claimed and, if the request had been sent, its token is spent and nobody has the successor.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from ontraport_connect.exceptions import OntraportError, OntraportMisconfigured, OntraportUnavailable, ReconnectRequired

LIFETIME = 3600.0
TAKE_OVER_WITHIN = 120.0
TIMEOUT = (30.0, 60.0)
"""Seconds that a well server has to connect and to answer: enough on a machine that is busy."""
LEASE = 135.0
LEEWAY = 60.0
SEND_WITHIN = 15.0
ATTEMPT = 600.0
WEEK = 7 * 86400.0
RECONSIDERED_WITHIN = 3 * 86400.0
PROBE_AFTER = 60.0
COUNTED_WITHIN = 600.0
BELIEVED_FOR = 3600.0
MANY_ENDED = 3
"""Accounts whose grants must end one after the other before that is taken for a wrong deploy. The site has five; these links are few."""
MANY = 3
CLIENT = "strict-client"
RETRY_AFTER = 120.0
"""Seconds that Ontraport asks for when it asks the site to slow down."""

Error = type[OntraportError] | None


class Ailment(StrEnum):
    """What is wrong with Ontraport."""

    NONE = "none"
    BROKEN = "answers 500"
    AWAY = "answers 503 and asks for patience"
    NONSENSE = "answers nonsense"
    SILENT = "does not answer"
    LOSING = "does what it is asked, and the answer is lost"
    BUSY = "answers 429"
    REFUSING = "answers invalid_client"
    ENDING = "answers invalid_grant, whatever the grant"


class Outcome(StrEnum):
    GRANTED = "granted"
    INVALID = "invalid_grant"
    FAILED = "failed"
    BUSY = "rate_limited"
    REFUSED = "invalid_client"
    LATE = "late"
    OTHER = "another client or issuer"


ERRORS: dict[Outcome, Error] = {
    Outcome.GRANTED: None,
    Outcome.INVALID: ReconnectRequired,
    Outcome.FAILED: OntraportUnavailable,
    Outcome.BUSY: OntraportUnavailable,
    Outcome.REFUSED: OntraportMisconfigured,
    Outcome.LATE: OntraportUnavailable,
    Outcome.OTHER: OntraportMisconfigured,
}


@dataclass(kw_only=True)
class Grant:
    """At Ontraport, for its account ``number``. ``is_lost``: an answer with its newest token has not arrived, so that a reuse is nobody's
    fault.
    """

    number: str
    serial: int = 0
    is_alive: bool = True
    reuses: int = 0
    good_until: float = 0.0
    is_lost: bool = False


@dataclass(kw_only=True, eq=False)
class Link:
    """An account's row. ``version`` changes with the grant and with the status. ``refreshed`` is the tick at which it got its token;
    ``is_wronged``: its customer is asked to reconnect although the grant is alive, since Ontraport said otherwise.
    """

    owner: str
    number: str
    grant: str
    serial: int = 0
    expires: float = 0.0
    is_connected: bool = True
    is_gone: bool = False
    failures: int = 0
    version: int = 1
    refreshed: int = 0
    is_wronged: bool = False
    history: list[str] = field(default_factory=list)


@dataclass(kw_only=True, eq=False)
class Claim:
    """A refresh in progress, with what its process read of the row."""

    link: Link
    grant: str
    serial: int
    version: int
    failures: int
    at: float
    is_probe: bool
    outcome: Outcome | None = None


@dataclass(kw_only=True, eq=False)
class Seen:
    """An account as some process read it, possibly long ago."""

    link: Link
    version: int
    is_connected: bool
    grant: str
    serial: int
    expires: float

    @classmethod
    def of(cls, link: Link) -> Seen:
        seen = cls(link=link, version=0, is_connected=False, grant="", serial=0, expires=0.0)
        seen.adopt()
        return seen

    def adopt(self) -> None:
        link = self.link
        self.version, self.is_connected, self.expires = link.version, link.is_connected, link.expires
        self.grant, self.serial = link.grant, link.serial


@dataclass(kw_only=True, eq=False)
class Attempt:
    """An attempt, from the button to the callback. ``key`` is the encryption key of its verifier."""

    owner: str
    target: Link | None
    number: str
    started: float
    key: str
    is_used: bool = False


@dataclass(frozen=True, kw_only=True)
class Hold:
    """Why nothing is sent for any account, and until when. ``config`` is what was configured then."""

    outcome: Outcome
    until: float
    config: Config


@dataclass(frozen=True, kw_only=True)
class Config:
    """What the settings name."""

    secret: str
    client: str = CLIENT
    is_elsewhere: bool = False


@dataclass(frozen=True, kw_only=True)
class Strikes:
    """The accounts that got the same error, one after the other; the first at ``at``, and at a tick of the model."""

    at: float
    tick: int
    links: frozenset[Link]


@dataclass(frozen=True, kw_only=True)
class Note:
    """What is known of a token that was spent in a transaction: that it is being spent, or that the next one has come."""

    at: float
    until: float
    is_answered: bool = False


@dataclass(frozen=True, kw_only=True)
class Waiting:
    """A grant to revoke, which belongs to the Ontraport account ``number``."""

    grant: str
    number: str
    link: Link | None
    since: float
