"""A model of links over their whole life, of the site and of Ontraport, in plain values, without database or network.

Time is the model's own, in seconds from 0. A *claim* is a refresh in progress in some process. A claim that is never settled belongs to a
process that was killed: its row stays claimed and, if the request had been sent, its token is spent and nobody has the successor.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum

from ontraport_connect.exceptions import OntraportError, OntraportMisconfigured, OntraportUnavailable, ReconnectRequired

LIFETIME = 3600.0
LEEWAY = 60.0
SEND_WITHIN = 15.0
ATTEMPT = 600.0
WEEK = 7 * 86400.0
PROBE_AFTER = 60.0
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


class Outcome(StrEnum):
    GRANTED = "granted"
    INVALID = "invalid_grant"
    FAILED = "failed"
    BUSY = "rate_limited"
    REFUSED = "invalid_client"
    LATE = "late"


ERRORS: dict[Outcome, Error] = {
    Outcome.GRANTED: None,
    Outcome.INVALID: ReconnectRequired,
    Outcome.FAILED: OntraportUnavailable,
    Outcome.BUSY: OntraportUnavailable,
    Outcome.REFUSED: OntraportMisconfigured,
    Outcome.LATE: OntraportUnavailable,
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
    """An account's row. ``version`` changes with the grant and with the status."""

    owner: str
    number: str
    grant: str
    serial: int = 0
    expires: float = 0.0
    is_connected: bool = True
    is_gone: bool = False
    failures: int = 0
    version: int = 1
    claim: Claim | None = None
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
    """Why nothing is sent for any account, and until when. ``secret`` is the client secret that was refused."""

    outcome: Outcome
    until: float
    secret: str


@dataclass(frozen=True, kw_only=True)
class Waiting:
    """A grant to revoke, which belongs to the Ontraport account ``number``."""

    grant: str
    number: str
    link: Link | None
    since: float


class Model:
    def __init__(self, secret: str, key: str) -> None:
        self.now = 0.0
        self.ailment = Ailment.NONE
        self.right_secret = self.secret = secret
        self.keys = [key]
        self.grants: dict[str, Grant] = {}
        self.links: list[Link] = []
        self.hold: Hold | None = None
        self.waiting: list[Waiting] = []
        self.given_up: set[str] = set()
        self.shared: set[str] = set()
        """Grants that were not revoked because a connected link may share them."""

    # Ontraport

    def says_no(self) -> Outcome | None:
        """Return the error that Ontraport gives to every request now, if any."""
        match self.ailment:
            case Ailment.BROKEN | Ailment.AWAY | Ailment.NONSENSE | Ailment.SILENT:
                return Outcome.FAILED
            case Ailment.BUSY:
                return Outcome.BUSY
            case Ailment.REFUSING:
                return Outcome.REFUSED
        return None if self.secret == self.right_secret else Outcome.REFUSED

    def answer(self, claim: Claim) -> Outcome:
        """Spend a refresh token and return what arrives of the response."""
        refused = self.says_no()
        if refused is not None:
            return refused
        grant = self.grants[claim.grant]
        if claim.serial != grant.serial:
            grant.reuses += 1
            grant.is_alive = False
        if not grant.is_alive:
            return Outcome.FAILED if self.ailment == Ailment.LOSING else Outcome.INVALID
        grant.serial += 1
        grant.good_until = self.now + LIFETIME
        grant.is_lost = True
        return Outcome.FAILED if self.ailment == Ailment.LOSING else Outcome.GRANTED

    def accepts(self, seen: Seen) -> bool:
        """Return whether the API accepts the access token."""
        grant = self.grants[seen.grant]
        return grant.is_alive and seen.serial == grant.serial and grant.good_until > self.now

    def end(self, name: str) -> None:
        """End a grant, and with it all others of this person and client (RFC 7009, 2.1)."""
        for grant in self.grants.values():
            if grant.number == self.grants[name].number:
                grant.is_alive = False

    # Refreshing

    def enter(self) -> Error | bool:
        """Return the error that stops every account, or whether the refresh that may go ahead is a probe. Uses the probe up."""
        hold = self.hold
        if hold is None:
            return False
        if hold.outcome == Outcome.BUSY:
            return OntraportUnavailable if hold.until > self.now else False
        if hold.secret == self.secret and hold.until > self.now:
            return OntraportMisconfigured
        if hold.secret == self.secret:
            self.hold = replace(hold, until=self.now + PROBE_AFTER)
        return True

    def claim(self, link: Link, *, is_probe: bool) -> Claim:
        link.claim = Claim(
            link=link,
            grant=link.grant,
            serial=link.serial,
            version=link.version,
            failures=link.failures,
            at=self.now,
            is_probe=is_probe,
        )
        return link.claim

    def send(self, claim: Claim) -> Outcome:
        claim.outcome = Outcome.LATE if self.now - claim.at > SEND_WITHIN else self.answer(claim)
        return claim.outcome

    def settle(self, claim: Claim, *, deliver: bool) -> None:
        """Save the response, unless the row has changed since it was claimed."""
        link, outcome = claim.link, claim.outcome
        is_same = not link.is_gone and link.version == claim.version
        if outcome == Outcome.GRANTED and is_same:
            link.serial, link.expires, link.failures = claim.serial + 1, claim.at + LIFETIME, 0
            link.version += 1
            self.grants[link.grant].is_lost = False
            link.history += ["recovered"] if claim.failures else []
            if claim.is_probe and self.hold is not None and self.hold.outcome == Outcome.REFUSED:
                self.hold = None
        elif outcome == Outcome.GRANTED and (link.is_gone or not link.is_connected or link.grant != claim.grant):
            self.let_go(claim.grant, link, link.number, deliver=deliver)
        elif outcome in (Outcome.BUSY, Outcome.REFUSED):
            self.stop(outcome)
        elif is_same and link.claim is claim and outcome == Outcome.INVALID:
            link.is_connected = False
            link.version += 1
            link.history.append("needs_reconnect")
        elif is_same and link.claim is claim and outcome == Outcome.FAILED:
            link.failures += 1
            link.history += [] if claim.failures else ["refresh_failing"]

    def stop(self, outcome: Outcome) -> None:
        hold = self.hold
        if outcome == Outcome.REFUSED:
            if hold is None or (hold.outcome, hold.secret) != (outcome, self.secret):
                self.hold = Hold(outcome=outcome, until=self.now + PROBE_AFTER, secret=self.secret)
        elif hold is None or hold.outcome == Outcome.BUSY:
            self.hold = Hold(outcome=outcome, until=self.now + RETRY_AFTER, secret=self.secret)

    def refresh(self, seen: Seen, *, forced: bool = True) -> Error:
        """Refresh the grant unless somebody did since the account was read. Without ``forced``, refresh even then: the token they got is
        about to expire.
        """
        link = seen.link
        if link.is_gone:
            return ReconnectRequired
        if not link.is_connected or (forced and seen.version != link.version):
            seen.adopt()
            return None if link.is_connected else ReconnectRequired
        entered = self.enter()
        if not isinstance(entered, bool):
            return entered
        claim = self.claim(link, is_probe=entered)
        outcome = self.send(claim)
        self.settle(claim, deliver=True)
        seen.adopt()
        return ERRORS[outcome]

    # Linking and letting go

    def reach_exchange(self, attempt: Attempt) -> str:
        """Return the code of the problem page for an honest callback that ends before the exchange, or an empty string."""
        attempt.is_used = True
        if self.now - attempt.started >= ATTEMPT:
            return "expired"
        if attempt.key not in self.keys:
            return "misconfigured"
        refused = self.says_no()
        if refused is None:
            return "unavailable" if self.ailment == Ailment.LOSING else ""
        return "misconfigured" if refused == Outcome.REFUSED else "unavailable"

    def link(self, attempt: Attempt, grant: str) -> tuple[str, Link | None]:
        """Find the row of a new grant: the code of the problem page, or the link."""
        self.grants[grant] = Grant(number=attempt.number, good_until=self.now + LIFETIME)
        link = attempt.target
        if link is None:
            own = [each for each in self.links if not each.is_gone and each.owner == attempt.owner]
            link = next((each for each in own if each.number == attempt.number), None)
        elif link.is_gone or link.number != attempt.number:
            self.let_go(grant, None, attempt.number, deliver=True)
            return "gone" if link.is_gone else "different_account", None
        if link is None:
            link = Link(owner=attempt.owner, number=attempt.number, grant=grant, version=0)
            self.links.append(link)
        elif link.is_connected:
            self.let_go(link.grant, link, link.number, deliver=True)
        link.history.append("reconnected" if link.history else "linked")
        link.grant, link.serial, link.expires = grant, 0, self.now + LIFETIME
        link.is_connected, link.failures, link.claim = True, 0, None
        link.version += 1
        return "", link

    def disconnect(self, link: Link, *, deliver: bool) -> None:
        link.is_gone = True
        link.history.append("disconnected")
        self.let_go(link.grant, link, link.number, deliver=False)
        for waiting in [each for each in self.waiting if deliver and each.link is link]:
            self.deliver(waiting)

    def let_go(self, grant: str, link: Link | None, number: str, *, deliver: bool) -> None:
        self.waiting.append(Waiting(grant=grant, number=number, link=link, since=self.now))
        if deliver:
            self.deliver(self.waiting[-1])

    def deliver(self, waiting: Waiting) -> None:
        """Revoke a grant that no connected link may share, with retries for a week. Ontraport's answer has no content, which could be
        nonsense (RFC 7009, 2.2).
        """
        if any(each.is_connected and not each.is_gone and each.number == waiting.number for each in self.links):
            self.shared.add(waiting.grant)
            self.waiting.remove(waiting)
        elif self.ailment in (Ailment.NONE, Ailment.NONSENSE) and self.secret == self.right_secret:
            self.end(waiting.grant)
            self.waiting.remove(waiting)
        elif self.now - waiting.since >= WEEK:
            self.waiting.remove(waiting)
            self.given_up.add(waiting.grant)

    # What must hold

    def promises(self) -> None:
        """Check what holds after every step."""
        held = {link.grant: link for link in self.links if not link.is_gone}
        for name, grant in self.grants.items():
            link = held.get(name)
            assert not grant.reuses or grant.is_lost, f"{name} was reused without a crash"
            if link is None:
                waiting = {each.grant for each in self.waiting}
                assert not grant.is_alive or name in self.given_up | self.shared | waiting, f"nobody ends {name}"
            elif link.is_connected:
                assert link.serial == grant.serial or grant.is_lost, f"{name}: the current token is lost"
            else:
                assert not grant.is_alive, f"{name} lives, and its customer is asked to reconnect"
