"""The steps of linking and letting go in the lifecycle (see ``lifecycle_machine``), and what every step needs."""

from __future__ import annotations

from typing import Any

import pytest
from django.urls import reverse
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    MultipleResults,
    RuleBasedStateMachine,
    initialize,
    multiple,
    rule,
)

from ontraport_connect import linking
from ontraport_connect.models import OntraportAccount
from tests.support.lifecycle import Model
from tests.support.lifecycle_site import InMemory, Site, Started, UnderWay
from tests.support.lifecycle_values import (
    Attempt,
    Claim,
    Link,
)
from tests.support.strict_provider import StrictProvider
from tests.support.strict_server import StrictServer

pytestmark = pytest.mark.django_db(transaction=True)

OWNERS = ["ada", "ben"]
FIRST = [("ada", "101"), ("ada", "102"), ("ben", "101")]
NUMBERS = st.sampled_from(["101", "102"])
MOST_ATTEMPTS = 6
USED = {"used", "unknown"}
"""What a used attempt may be known as: newer ones may have taken its place."""


def key(number: int) -> str:
    return f"encryption key number {number:02} of the lifecycle"


class Linking(RuleBasedStateMachine):
    links = Bundle("links")
    attempts = Bundle("attempts")

    def __init__(self, provider: StrictProvider, elsewhere: StrictServer) -> None:
        super().__init__()
        provider.reset()
        self.provider = provider
        self.elsewhere = elsewhere
        self.model = Model(
            secret=provider.endpoint.client_secret,
            key=key(0),
            is_backing_off=lambda link: self.site.is_backing_off(self.uids[link]),
        )
        self.site = Site(provider, OWNERS, key(0))
        self.keys_made = 1
        self.uids: dict[Link, Any] = {}
        self.kept: dict[Link, InMemory] = {}
        self.started: dict[Attempt, Started] = {}
        self.under_way: dict[Claim, UnderWay] = {}

    # Linking

    def press(self, owner: str, number: str, target: Link | None) -> Attempt:
        attempt = Attempt(owner=owner, target=target, number=number, started=self.model.now, key=self.model.keys[0])
        self.started[attempt] = self.site.press(owner, self.uids[target] if target else None)
        return attempt

    def may_press(self, owner: str) -> bool:
        """This many attempts of a browser are kept; one more would drop the oldest. During a wrong deploy nobody links or unlinks here."""
        room = sum(each.owner == owner and not each.is_used for each in self.started) < MOST_ATTEMPTS
        return room and not self.model.is_misdeployed

    def come_back(self, attempt: Attempt) -> Link | None:
        started = self.started[attempt]
        started.callback = started.callback or self.site.consent(started, attempt.number)
        expected, link = USED, None
        if not attempt.is_used:
            code = self.model.reach_exchange(attempt)
            if not code:
                code, link = self.model.link(attempt, f"g{len(self.model.grants) + 1}")
            expected = {code}
        assert self.site.come_back(attempt.owner, started.callback) in expected
        if link is not None:
            row = OntraportAccount.objects.get(user__username=link.owner, ontraport_id=link.number)
            assert self.uids.setdefault(link, row.uid) == row.uid
        return link

    @initialize(target=links)
    def both_have_linked(self) -> MultipleResults[Link]:
        both = [self.come_back(self.press(owner, number, None)) for owner, number in FIRST]
        return multiple(*[link for link in both if link is not None])

    @rule(target=links, owner=st.sampled_from(OWNERS), number=NUMBERS)
    def a_customer_connects(self, owner: str, number: str) -> Link | MultipleResults[Link]:
        link = self.come_back(self.press(owner, number, None)) if self.may_press(owner) else None
        return multiple() if link is None else link

    @rule(target=attempts, link=links, number=NUMBERS, is_same=st.booleans(), at_once=st.booleans())
    def a_customer_reconnects(self, link: Link, number: str, is_same: bool, at_once: bool) -> Any:
        """Come back at once, or later."""
        if link.is_gone or not self.may_press(link.owner):
            return multiple()
        attempt = self.press(link.owner, link.number if is_same else number, link)
        if at_once:
            self.come_back(attempt)
        return attempt

    @rule(target=attempts, owner=st.sampled_from(OWNERS), number=NUMBERS)
    def a_customer_begins_to_connect(self, owner: str, number: str) -> Any:
        return self.press(owner, number, None) if self.may_press(owner) else multiple()

    @rule(target=links, attempt=attempts)
    def an_answer_comes_back(self, attempt: Attempt) -> Link | MultipleResults[Link]:
        """Come back for the first time, or once more."""
        if self.model.is_misdeployed:
            return multiple()
        link = self.come_back(attempt)
        return multiple() if link is None else link

    @rule(attempt=attempts, how=st.sampled_from(["state", "iss", "code", "denied", "browser"]))
    def a_wrong_answer_comes_back(self, attempt: Attempt, how: str) -> None:
        if self.model.is_misdeployed:
            return
        good = self.site.consent(self.started[attempt], "" if how == "denied" else attempt.number)
        expected, owner = "unknown", attempt.owner
        if how == "state":
            good["state"] = "x" * len(good["state"])
        elif how == "browser":
            owner = next(each for each in OWNERS if each != attempt.owner)
        elif attempt.is_used:
            assert self.site.come_back(owner, good) in USED
            return
        else:
            is_late = self.model.reach_exchange(attempt)
            if how == "iss":
                good["iss"], expected = "https://attacker.example", "expired" if is_late == "expired" else "issuer"
            elif how == "denied":
                expected = "expired" if is_late == "expired" else "denied"
            else:
                good["code"], expected = "forged", is_late or "code"
        assert self.site.come_back(owner, good) == expected

    @rule(link=links, by=st.sampled_from(OWNERS), how=st.sampled_from(["button", "code", "rows"]))
    def somebody_disconnects(self, link: Link, by: str, how: str) -> None:
        uid = self.uids[link]
        if self.model.is_misdeployed:
            return
        if how == "button":
            status = self.site.browsers[by].post(reverse("ontraport_connect:disconnect", args=[uid])).status_code
            assert status == (302 if by == link.owner else 404)
            if by != link.owner:
                return
        elif how == "code" and not link.is_gone:
            linking.unlink(OntraportAccount.objects.get(uid=uid))
        else:
            OntraportAccount.objects.filter(uid=uid).delete()
        if not link.is_gone:
            self.model.disconnect(link, deliver=how != "rows")
