"""Any sequence of what customers, workers, operators, Ontraport and the clock may do, compared with a model after each step.

A killed process is one whose next step never comes. It leaves the row as SIGKILL does: claimed and, if the request had been sent, with a
spent token. Real processes are killed in ``test_crashes``. Such a process may also have been only stopped, and go on much later; the same
steps then find another row. ``HYPOTHESIS_EXAMPLES`` is the number of sequences.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import requests
from django.utils import timezone
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    consumes,
    invariant,
    multiple,
    rule,
)

from ontraport_connect.exceptions import OntraportError, OntraportMisconfigured, OntraportUnavailable, ReconnectRequired
from ontraport_connect.models import OntraportAccount, OntraportEvent, OntraportRevocation
from ontraport_connect.refreshing import batches, circuit_breaker, one_account, recovery, revoking
from tests.support.lifecycle_linking import Linking, key
from tests.support.lifecycle_site import InMemory, UnderWay
from tests.support.lifecycle_values import (
    CLIENT,
    LEASE,
    LEEWAY,
    PROBE_AFTER,
    TAKE_OVER_WITHIN,
    Ailment,
    Claim,
    Error,
    Link,
    Outcome,
    Seen,
)

SPANS = st.sampled_from([30.0, 600.0, 1800.0, 3570.0, 86400.0, 8 * 86400.0])


def error_of(step: Callable[[], object]) -> Error:
    """Run a step and return the type of its error, one of ours, or ``None``. Any other error fails the test."""
    try:
        step()
    except OntraportError as error:
        kinds = (ReconnectRequired, OntraportUnavailable, OntraportMisconfigured)
        return next(kind for kind in kinds if isinstance(error, kind))
    return None


class Lifecycle(Linking):
    links = Linking.links
    claims = Bundle("claims")

    # Refreshing and use

    def memory_of(self, link: Link, is_old: bool) -> InMemory | None:
        """Return the account as read long ago or now. ``None`` when its row is gone or held by another refresh, which takes a wait."""
        if not link.is_gone and self.must_wait(link):
            return None
        if link.is_gone or (is_old and link in self.kept):
            return self.kept.get(link)
        held = self.site.read(Seen.of(link), self.uids[link])
        return self.kept.setdefault(link, held) if is_old else held

    def must_wait(self, link: Link) -> bool:
        note = self.model.noted(link)
        is_being_spent = note is not None and not note.is_answered and note.until > self.model.now
        return is_being_spent or self.site.is_leased(self.uids[link])

    @rule(link=links)
    def somebody_reads_an_account_and_keeps_it(self, link: Link) -> None:
        if not link.is_gone:
            self.kept[link] = self.site.read(Seen.of(link), self.uids[link])

    @rule(link=links, is_old=st.booleans())
    def a_token_is_refreshed(self, link: Link, is_old: bool) -> None:
        if held := self.memory_of(link, is_old):
            expected = self.model.refresh(held.seen, is_abandoned=self.site.is_abandoned(self.uids[link]))
            assert error_of(lambda: one_account.refresh(held.account)) == expected

    def made_fresh(self, held: InMemory, step: Callable[[], object]) -> tuple[Error, Error]:
        """Return how ``ensure_fresh`` would end by the model, and how the step, which begins with it, did end.

        Whether an account that failed may already be tried again is random, and is told from what Ontraport heard.
        """
        seen, model, heard = held.seen, self.model, self.provider.endpoint.heard
        asked, link, start = len(heard), seen.link, timezone.now()
        row: Any = OntraportAccount.objects.filter(uid=self.uids[link]).first()
        raised = error_of(step)
        if not seen.is_connected:
            return ReconnectRequired, raised
        if seen.expires > model.now + LEEWAY:
            return None, raised
        if not link.is_gone and link.is_connected and link.expires > model.now + LEEWAY:
            seen.adopt()
            return None, raised
        if row is not None and row.failures and row.is_connected and row.refresh_at > start and len(heard) == asked:
            expected: Error = OntraportUnavailable
        else:
            expected = model.refresh(seen, forced=False)
        soft = expected in (OntraportUnavailable, OntraportMisconfigured) and seen.expires > model.now
        return None if soft else expected, raised

    @rule(link=links, is_old=st.booleans())
    def a_token_is_made_fresh(self, link: Link, is_old: bool) -> None:
        if held := self.memory_of(link, is_old):
            expected, raised = self.made_fresh(held, lambda: one_account.ensure_fresh(held.account))
            assert raised == expected
            assert raised or held.seen.expires > self.model.now, "an expired token is no fresh one"

    @rule(link=links, is_old=st.booleans(), is_refused=st.booleans())
    def an_account_is_used(self, link: Link, is_old: bool, is_refused: bool) -> None:
        """The API refuses a token that is not the current one and, with ``is_refused``, one that is."""
        held = self.memory_of(link, is_old)
        if held is None:
            return
        expected, raised = self.made_fresh(held, lambda: one_account.ensure_fresh(held.account))
        assert raised == expected
        if expected is not None:
            return
        self.provider.endpoint.refusals = int(is_refused)
        is_served = self.model.accepts(held.seen) and not is_refused
        if not is_served:
            expected = self.model.refresh(held.seen, refused=True)
            is_served = self.model.accepts(held.seen)
        answers: list[int] = []
        url = f"{self.provider.api.url}/1/Contacts"

        def use() -> None:
            answers.append(requests.get(url, auth=held.account.auth(), timeout=10).status_code)

        assert error_of(use) == expected
        assert answers == ([] if expected else [200 if is_served else 401])

    @rule()
    def a_batch_is_refreshed(self) -> None:
        """Beat takes over what is noted; a worker refreshes what is due."""
        model, heard = self.model, self.provider.endpoint.heard
        self.answers_are_taken_over()
        rows = OntraportAccount.objects.filter(uid__in=self.uids.values())
        due_at = {row.uid: (row.refresh_at, row.lease_until, row.expires_at) for row in rows}
        asked, start = len(heard), timezone.now()
        entered = model.enter()
        batches.refresh_batch([row.pk for row in rows])
        asked_of = [token.split(".")[1] for token in heard[asked:]]
        stop = timezone.now()
        links = {
            link.grant: link
            for link in model.links
            if not (link.is_gone or model.is_misdeployed or model.guards(link)) and link.is_connected
        }

        def is_due(link: Link, at: Any) -> bool:
            refresh_at, lease_until, expires_at = due_at[self.uids[link]]
            ends_soon = expires_at <= at + timedelta(seconds=TAKE_OVER_WITHIN)
            return bool(refresh_at <= at and (lease_until is None or (lease_until <= at and ends_soon)))

        may = {grant for grant, link in links.items() if is_due(link, stop)}
        must = {grant for grant, link in links.items() if is_due(link, start)}
        assert len(asked_of) == len(set(asked_of))
        assert set(asked_of) <= may
        if not isinstance(entered, bool):
            assert not asked_of
            return
        is_vague = model.ailment == Ailment.LOSING or model.says_no() is not None
        assert asked_of or not must
        for grant in asked_of:
            claim = model.claim(links[grant], is_probe=entered)
            assert not model.recover(links[grant])
            model.send(claim)
            model.settle(claim, deliver=False)
        assert (entered and is_vague) or model.hold is not None or must <= set(asked_of)

    def answers_are_taken_over(self) -> None:
        for link in self.model.links:
            self.take_over(link)
        recovery.recover_all()

    def take_over(self, link: Link) -> None:
        note = None if link.is_gone else self.model.noted(link)
        if note and note.is_answered and link.is_connected and not self.site.is_leased(self.uids[link]):
            assert self.model.recover(link) == "taken"

    @rule(link=links)
    def somebody_renames_an_account_read_long_ago(self, link: Link) -> None:
        held = self.kept.get(link)
        if held and not link.is_gone:
            held.account.label = f"{held.account.label[:20]}+"
            held.account.save()

    # Processes that stop at any point

    @rule(target=claims, link=links, is_sent=st.booleans())
    def a_process_refreshes_and_stops(self, link: Link, is_sent: bool) -> Any:
        """Stop after the claim, or after the response has arrived."""
        uid = self.uids[link]
        if link.is_gone or not link.is_connected or self.must_wait(link) or self.model.is_misdeployed:
            return multiple()
        if self.site.is_abandoned(uid) and link.expires > self.model.now + TAKE_OVER_WITHIN:
            return multiple()
        entered = self.model.enter()
        claims: list[UnderWay | None] = []
        error = error_of(lambda: claims.append(self.site.claim(uid)))
        if not isinstance(entered, bool):
            assert error == entered
            return multiple()
        assert error is None
        claim = self.model.claim(link, is_probe=entered)
        [refresh] = claims
        found = self.model.recover(link)
        assert bool(found) == (refresh is None)
        if refresh is None:
            return multiple()
        self.under_way[claim] = refresh
        if is_sent:
            self.send(claim)
        return claim

    def send(self, claim: Claim) -> None:
        if claim in self.under_way and claim.outcome is None:
            asked = len(self.provider.endpoint.heard)
            outcome = self.model.send(claim)
            self.site.send(self.under_way[claim])
            assert len(self.provider.endpoint.heard) - asked == (outcome not in (Outcome.LATE, Outcome.OTHER))

    @rule(claim=consumes(claims), is_relinked=st.booleans())
    def it_goes_on_to_its_end(self, claim: Claim, is_relinked: bool) -> None:
        """Go on, possibly after the customer has reconnected."""
        self.send(claim)
        if is_relinked:
            self.a_customer_reconnects(claim.link, claim.link.number, is_same=True, at_once=True)
        refresh = self.under_way.pop(claim, None)
        if refresh is not None:
            if self.model.drops(claim):
                self.deploy()  # where its grant is to be revoked belongs to another story
            self.model.settle(claim, deliver=True, is_own=self.site.is_own(refresh))
            self.site.settle(refresh)

    def deploy(self, *, client: str = CLIENT, is_elsewhere: bool = False) -> None:
        """Change the client id, or the endpoints, or put them back."""
        self.model.config = replace(self.model.config, client=client, is_elsewhere=is_elsewhere)
        endpoints = (self.elsewhere if is_elsewhere else self.provider).settings["ONTRAPORT_ENDPOINTS"]
        self.site.configure(ONTRAPORT_CLIENT_ID=client, ONTRAPORT_ENDPOINTS=endpoints)

    # Time, Ontraport, the operator

    @rule(seconds=SPANS)
    def time_passes(self, seconds: float) -> None:
        self.model.now += seconds
        self.site.pass_time(seconds)

    @rule()
    def an_hour_later_revocations_are_delivered(self) -> None:
        self.time_passes(3600.0)
        if self.model.is_misdeployed:
            return
        for waiting in list(self.model.waiting):
            self.model.deliver(waiting)
        revoking.deliver_revocations(50)

    @rule(link=links)
    def ontraport_ends_a_grant(self, link: Link) -> None:
        self.model.end(link.grant)
        self.provider.run(lambda: self.provider.endpoint.revoke(f"r.{link.grant}.0"))

    @rule(ailment=st.sampled_from([*Ailment, *[Ailment.NONE] * 4]), link=links, is_asked=st.booleans())
    def ontraport_falls_ill_or_gets_well(self, ailment: Ailment, link: Link, is_asked: bool) -> None:
        """Change what is wrong with Ontraport. With ``is_asked`` somebody notices at once."""
        self.ail(ailment)
        if is_asked:
            self.a_token_is_refreshed(link, is_old=False)

    def ail(self, ailment: Ailment) -> None:
        self.model.ailment = ailment
        self.site.ail(ailment)

    @rule(is_right=st.sampled_from([True, True, False]))
    def the_client_secret_is_changed(self, is_right: bool) -> None:
        secret = self.model.right_secret if is_right else "wrong"
        self.model.config = replace(self.model.config, secret=secret)
        self.site.configure(ONTRAPORT_CLIENT_SECRET=secret)

    @rule()
    def a_new_key_comes_first_and_rows_are_rotated(self) -> None:
        self.model.keys.insert(0, key(self.keys_made))
        self.keys_made += 1
        self.site.configure(ONTRAPORT_ENCRYPTION_KEYS=list(self.model.keys))
        self.answers_are_taken_over()
        self.site.rotate_keys()

    @rule()
    def the_old_keys_are_dropped(self) -> None:
        """Change the settings: all processes start anew, and what they held in memory is gone."""
        del self.model.keys[1:]
        self.site.configure(ONTRAPORT_ENCRYPTION_KEYS=list(self.model.keys))
        self.site.restart()
        self.kept.clear()
        self.under_way.clear()

    @rule()
    def an_operator_reconsiders(self) -> None:
        assert len(recovery.reconsider()) == len(self.model.reconsider())

    # What must hold

    @invariant()
    def what_is_stored_is_what_the_model_says(self) -> None:
        """Compare every row with its decrypted secrets, its history, the grants at Ontraport, and the grants that wait for revocation."""
        model = self.model
        model.promises()
        assert self.provider.endpoint.clients <= {CLIENT}, "a token was sent for another client"
        assert not self.elsewhere.requests, "a token was sent to another issuer"
        rows: dict[Any, Any] = {row.uid: row for row in OntraportAccount.objects.select_related("user")}
        assert {uid: contents(row) for uid, row in rows.items()} == {
            self.uids[link]: expected(link) for link in model.links if not link.is_gone
        }
        for link, uid in self.uids.items():
            kinds = OntraportEvent.objects.filter(account_uid=uid).order_by("pk").values_list("kind", flat=True)
            assert list(kinds) == link.history
        grants = self.provider.endpoint.grants.items()
        assert {name: (each.serial, each.alive, each.reuses) for name, each in grants} == {
            name: (each.serial, each.is_alive, each.reuses) for name, each in model.grants.items()
        }
        waiting = [row.refresh_token.reveal().split(".")[1] for row in OntraportRevocation.objects.all()]
        assert Counter(waiting) == Counter(each.grant for each in model.waiting)
        now = timezone.now()
        for row in rows.values():
            assert row.lease_until is None or (row.lease_until - now).total_seconds() <= LEASE
            assert (row.refresh_at is not None) == row.is_connected
            assert row.refresh_at is None or (row.refresh_at - now).total_seconds() <= 3000

    def teardown(self) -> None:
        """Ontraport is well, the settings are right, and beat has run an hour later: every link is usable, or its customer is asked to
        reconnect.
        """
        try:
            self.ail(Ailment.NONE)
            self.deploy()
            self.the_client_secret_is_changed(is_right=True)
            self.an_hour_later_revocations_are_delivered()
            assert all(self.model.may_come_back(each.number) for each in self.model.waiting)
            self.an_operator_reconsiders()
            self.a_batch_is_refreshed()
            for _ in self.model.links:
                if (
                    self.model.hold is not None
                ):  # an ended grant does not close the breaker, and there is one probe a minute
                    self.time_passes(PROBE_AFTER)
                    self.a_batch_is_refreshed()
            self.what_is_stored_is_what_the_model_says()
            for link in [each for each in self.model.links if not each.is_gone]:
                assert link.is_connected == self.model.grants[link.grant].is_alive
                self.an_account_is_used(link, is_old=False, is_refused=False)
            refreshed = any(link.is_connected for link in self.model.links if not link.is_gone)
            assert not (refreshed and circuit_breaker.is_site_refused())
        finally:
            self.site.close()


def contents(row: Any) -> tuple[object, ...]:
    tokens = row.access_token.reveal(), row.refresh_token.reveal()
    return row.user.username, row.ontraport_id, row.is_connected, row.failures, row.version, *tokens


def expected(link: Link) -> tuple[object, ...]:
    tokens = f"a.{link.grant}.{link.serial}", f"r.{link.grant}.{link.serial}"
    return link.owner, link.number, link.is_connected, link.failures, link.version, *tokens
