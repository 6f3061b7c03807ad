"""A model of links over their whole life, of the site and of Ontraport, in plain values, without database or network.

Time is the model's own, in seconds from 0. A *claim* is a refresh in progress in some process. A claim that is never settled belongs to a
process that was killed: its row stays claimed and, if the request had been sent, its token is spent and nobody has the successor.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from ontraport_connect.exceptions import OntraportMisconfigured, OntraportUnavailable, ReconnectRequired
from tests.support.lifecycle_values import (
    ATTEMPT,
    BELIEVED_FOR,
    CLIENT,
    COUNTED_WITHIN,
    ERRORS,
    LEASE,
    LEEWAY,
    LIFETIME,
    MANY,
    MANY_ENDED,
    PROBE_AFTER,
    RECONSIDERED_WITHIN,
    RETRY_AFTER,
    SEND_WITHIN,
    TAKE_OVER_WITHIN,
    WEEK,
    Ailment,
    Attempt,
    Claim,
    Config,
    Error,
    Grant,
    Hold,
    Link,
    Note,
    Outcome,
    Seen,
    Strikes,
    Waiting,
)


class Model:
    def __init__(self, secret: str, key: str, is_backing_off: Callable[[Link], bool]) -> None:
        """For how long an account backs off is random, and asked of its row."""
        self.is_backing_off = is_backing_off
        self.now = 0.0
        self.ailment = Ailment.NONE
        self.right_secret = secret
        self.config = Config(secret=secret)
        self.strikes: dict[Outcome, Strikes] = {}
        self.believed_until = -1.0
        self.notes: dict[tuple[str, int], Note] = {}
        self.ticks = 0
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
            case Ailment.ENDING:
                return Outcome.INVALID
        return None if self.config.secret == self.right_secret else Outcome.REFUSED

    @property
    def is_misdeployed(self) -> bool:
        return self.config.client != CLIENT or self.config.is_elsewhere

    def tick(self) -> int:
        self.ticks += 1
        return self.ticks

    def end(self, name: str) -> None:
        """End a grant, and with it all others of this person and client (RFC 7009, 2.1)."""
        for grant in self.grants.values():
            if grant.number == self.grants[name].number:
                grant.is_alive = False

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

    # Refreshing

    def enter(self, link: Link | None = None) -> Error | bool:
        """Return the error that stops every account, or whether the refresh that may go ahead is a probe. Uses the probe up."""
        hold = self.hold
        if hold is None:
            return False
        if hold.outcome != Outcome.BUSY and hold.config != self.config:
            return True
        if hold.outcome == Outcome.INVALID and link in self.strikes[hold.outcome].links:
            return OntraportMisconfigured
        if hold.until > self.now or (link is not None and self.is_backing_off(link)):
            return OntraportUnavailable if hold.outcome == Outcome.BUSY else OntraportMisconfigured
        self.hold = replace(hold, until=self.now + PROBE_AFTER)
        return True

    def claim(self, link: Link, *, is_probe: bool) -> Claim:
        return Claim(
            link=link,
            grant=link.grant,
            serial=link.serial,
            version=link.version,
            failures=link.failures,
            at=self.now,
            is_probe=is_probe,
        )

    def send(self, claim: Claim) -> Outcome:
        if self.is_misdeployed:
            claim.outcome = Outcome.OTHER
        else:
            claim.outcome = Outcome.LATE if self.now - claim.at > SEND_WITHIN else self.answer(claim)
        return claim.outcome

    def drops(self, claim: Claim) -> bool:
        """Return whether the row has no place for what came."""
        link = claim.link
        is_held = not link.is_gone and link.is_connected and link.grant == claim.grant
        return claim.outcome == Outcome.GRANTED and not is_held

    def settle(self, claim: Claim, *, deliver: bool, is_own: bool = True, is_inside: bool = False) -> None:
        """Save the response, unless the row has changed since it was claimed. ``is_own``: nobody else has claimed it since;
        ``is_inside``: in a transaction, so that it is noted outside of it.
        """
        link, outcome = claim.link, claim.outcome
        is_same = not link.is_gone and link.version == claim.version
        if outcome == Outcome.GRANTED and is_inside:
            self.notes[claim.grant, claim.serial] = Note(at=claim.at, until=claim.at + LEASE, is_answered=True)
        is_for_all = outcome != Outcome.GRANTED and self.report(claim)
        if outcome == Outcome.GRANTED and is_same:
            link.serial, link.expires, link.failures = claim.serial + 1, claim.at + LIFETIME, 0
            link.version += 1
            link.refreshed = self.tick()
            self.grants[link.grant].is_lost = False
            link.history += ["recovered"] if claim.failures else []
            self.release(claim)
        elif self.drops(claim):
            self.let_go(claim.grant, link, link.number, deliver=deliver)
        elif (
            not (is_same and is_own)
            or outcome in (Outcome.GRANTED, Outcome.LATE, Outcome.OTHER)
            or (outcome != Outcome.BUSY and is_for_all)
        ):
            return
        elif outcome == Outcome.INVALID:
            link.is_connected, link.is_wronged = False, self.grants[link.grant].is_alive
            link.version += 1
            link.history.append("needs_reconnect")
        else:
            link.failures += 1
            link.history += [] if claim.failures else ["refresh_failing"]

    # The circuit breaker

    def report(self, claim: Claim) -> bool:
        """Return whether an error is meant for the whole site."""
        outcome = claim.outcome
        assert outcome is not None
        if outcome == Outcome.REFUSED and self.config.client == CLIENT:
            self.open(outcome)
            return True
        return outcome in (Outcome.BUSY, Outcome.INVALID, Outcome.REFUSED) and self.count(outcome, claim.link)

    def count(self, outcome: Outcome, link: Link) -> bool:
        if outcome == Outcome.INVALID and self.believed_until > self.now:
            return False
        held = [each for each in self.links if not each.is_gone]
        connected = sum(each.is_connected for each in held)
        enough = MANY_ENDED if outcome == Outcome.INVALID else max(1, min(MANY, connected))
        mine = self.strikes.get(outcome) or Strikes(at=self.now, tick=self.tick(), links=frozenset())
        mine = replace(mine, links=mine.links | {link})
        is_refreshed = any(each.refreshed >= mine.tick for each in held)
        goes_on = outcome == Outcome.INVALID and self.is_held_for_ended_grants()
        if (self.now - mine.at >= COUNTED_WITHIN and not goes_on) or (len(mine.links) >= enough and is_refreshed):
            mine = Strikes(at=self.now, tick=self.tick(), links=frozenset([link]))
        self.strikes[outcome] = mine
        if len(mine.links) < enough:
            return False
        self.open(outcome)
        return True

    def is_held_for_ended_grants(self) -> bool:
        return self.hold is not None and (self.hold.outcome, self.hold.config) == (Outcome.INVALID, self.config)

    def open(self, outcome: Outcome) -> None:
        hold = self.hold
        if outcome != Outcome.BUSY:
            if hold is None or (hold.outcome, hold.config) != (outcome, self.config):
                self.hold = Hold(outcome=outcome, until=self.now + PROBE_AFTER, config=self.config)
        elif hold is None or hold.outcome == Outcome.BUSY:
            self.hold = Hold(outcome=outcome, until=self.now + RETRY_AFTER, config=self.config)

    def release(self, claim: Claim) -> None:
        hold = self.hold
        if not claim.is_probe or hold is None:
            return
        is_of_this_client = (hold.outcome, hold.config) == (Outcome.REFUSED, self.config)
        if self.config.client != CLIENT and is_of_this_client:
            return
        self.hold = None
        self.strikes.clear()

    def reconsider(self) -> list[Link]:
        """An operator brings back whom Ontraport wrongly said to be gone."""
        self.strikes.clear()
        self.believed_until = self.now + BELIEVED_FOR
        if self.hold is not None and self.hold.outcome == Outcome.INVALID:
            self.hold = None
        ended = [each for each in self.links if not each.is_gone and not each.is_connected and not self.is_misdeployed]
        for link in ended:
            link.is_connected, link.is_wronged, link.failures = True, False, 1
            link.version += 1
        return ended

    # Transactions

    def noted(self, link: Link) -> Note | None:
        return self.notes.get((link.grant, link.serial))

    def recover(self, link: Link, *, is_needed: bool = False) -> str:
        """Look for a note on the token of a link that was just claimed: it is ``taken``, or the token is ``guarded`` by it."""
        note = self.noted(link)
        if note is None:
            return ""
        if not note.is_answered:
            if note.until > self.now or not (is_needed or link.expires <= self.now + TAKE_OVER_WITHIN):
                return "guarded"
            del self.notes[link.grant, link.serial]
            return ""
        while note is not None and note.is_answered:
            link.serial, link.expires = link.serial + 1, note.at + LIFETIME
            note = self.noted(link)
        link.history += ["recovered"] if link.failures else []
        link.failures = 0
        link.version += 1
        link.refreshed = self.tick()
        return "taken"

    def guards(self, link: Link) -> bool:
        """Return whether a token is being spent that nobody may take over now."""
        note = self.noted(link)
        if note is None or note.is_answered:
            return False
        return note.until > self.now or link.expires > self.now + TAKE_OVER_WITHIN

    def newest(self, link: Link) -> int:
        """Return the serial of the newest token that the site has for a link, in its row or in a note."""
        serial = link.serial
        while (note := self.notes.get((link.grant, serial))) is not None and note.is_answered:
            serial += 1
        return serial

    def save_point(self, link: Link) -> dict[str, Any]:
        breaker = {"hold": self.hold, "strikes": dict(self.strikes), "believed_until": self.believed_until}
        return {"link": {**vars(link), "history": list(link.history)}, "breaker": breaker}

    def undo(self, link: Link, saved: dict[str, Any], *, is_all: bool) -> None:
        """Roll back what happened to a row, and, where the transaction holds the whole database (``is_all``), to the breaker."""
        vars(link).update(saved["link"])
        if is_all:
            vars(self).update(saved["breaker"])

    def refresh(
        self,
        seen: Seen,
        *,
        forced: bool = True,
        refused: bool = False,
        is_abandoned: bool = False,
        is_inside: bool = False,
        is_tried_outside: bool = False,
    ) -> Error:
        """Refresh the grant unless somebody did since the account was read. Without ``forced``, refresh even then: the token they got is
        about to expire. ``is_tried_outside``: a connection of its own has tried first, in vain, and maybe used the probe up.
        """
        link = seen.link
        if link.is_gone:
            return ReconnectRequired
        if not link.is_connected or (forced and seen.version != link.version):
            seen.adopt()
            return None if link.is_connected else ReconnectRequired
        is_left_alone = is_abandoned and not refused and link.expires > self.now + TAKE_OVER_WITHIN
        if is_left_alone or (refused and self.is_backing_off(link)):
            seen.adopt()
            return OntraportUnavailable
        if self.is_misdeployed:
            return OntraportMisconfigured
        entered = self.enter(link)
        if is_tried_outside and isinstance(entered, bool):
            entered = self.enter(link)
        if not isinstance(entered, bool):
            return entered
        error = self.spend(link, is_probe=entered, refused=refused, is_inside=is_inside)
        seen.adopt()
        return error

    def spend(self, link: Link, *, is_probe: bool, refused: bool, is_inside: bool) -> Error:
        claim = self.claim(link, is_probe=is_probe)
        found = self.recover(link, is_needed=refused)
        if found == "taken" and link.expires <= self.now + LEEWAY:  # it came long ago
            return self.refresh(Seen.of(link), refused=refused, is_inside=is_inside)
        if found:
            return None if found == "taken" else OntraportUnavailable
        outcome = self.send(claim)
        self.settle(claim, deliver=True, is_inside=is_inside)
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
        if refused == Outcome.INVALID:
            return "code"
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
        elif link.is_wronged:
            self.given_up.add(link.grant)
        link.history.append("reconnected" if link.history else "linked")
        link.grant, link.serial, link.expires = grant, 0, self.now + LIFETIME
        link.is_connected, link.is_wronged, link.failures = True, False, 0
        link.refreshed = self.tick()
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
        nonsense (RFC 7009, 2.2); ``invalid_grant`` is believed, so that a grant which has not ended lives on.
        """
        if any(each.is_connected and not each.is_gone and each.number == waiting.number for each in self.links):
            self.shared.add(waiting.grant)
            self.waiting.remove(waiting)
        elif self.may_come_back(waiting.number):
            self.give_up_after_a_week(waiting)
        elif self.ailment in (Ailment.NONE, Ailment.NONSENSE) and self.config.secret == self.right_secret:
            self.end(waiting.grant)
            self.waiting.remove(waiting)
        elif self.ailment == Ailment.ENDING:
            self.waiting.remove(waiting)
            self.given_up.add(waiting.grant)
        else:
            self.give_up_after_a_week(waiting)

    def give_up_after_a_week(self, waiting: Waiting) -> None:
        if self.now - waiting.since >= WEEK:
            self.waiting.remove(waiting)
            self.given_up.add(waiting.grant)

    def may_come_back(self, number: str) -> bool:
        """Tell whether a link of this Ontraport account was marked and served of late: a revocation waits for what becomes of it."""
        marked = [each for each in self.links if not each.is_connected and not each.is_gone]
        return any(each.number == number and each.expires > self.now - RECONSIDERED_WITHIN for each in marked)

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
                assert self.newest(link) == grant.serial or grant.is_lost, f"{name}: the current token is lost"
            else:
                assert not grant.is_alive or link.is_wronged, f"{name} lives, and its customer is asked to reconnect"
