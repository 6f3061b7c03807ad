"""Any sequence of what customers, workers, operators, Ontraport and the clock may do, compared with a model after each step.

``lifecycle_linking`` has the steps of linking; ``lifecycle_machine`` those of refreshing and using, and of processes that stop; here are
transactions that are rolled back, wrong deploys, and a copy of the database. A batch makes one call after the other here, so that the
model knows their order. ``HYPOTHESIS_EXAMPLES`` is the number of sequences to try.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, cast

import pytest
from django.contrib.sessions.models import Session
from django.db import transaction
from django.test import override_settings
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import rule, run_state_machine_as_test

from ontraport_connect.database import has_one_writer
from ontraport_connect.exceptions import OntraportMisconfigured
from ontraport_connect.models import OntraportAccount
from ontraport_connect.refreshing import batches, leases, one_account, recovery, revoking, spent_tokens, strikes
from tests.support.lifecycle_machine import Lifecycle, error_of
from tests.support.lifecycle_site import Undone
from tests.support.lifecycle_values import CLIENT, MANY_ENDED, Link, Note, Seen
from tests.support.strict_provider import StrictProvider
from tests.support.strict_server import StrictServer

PHASES = [Phase.generate, *([] if "HYPOTHESIS_NO_SHRINK" in os.environ else [Phase.shrink])]

pytestmark = pytest.mark.django_db(transaction=True)


class WholeLife(Lifecycle):
    # Transactions

    @rule(
        link=Lifecycle.links,
        changed=st.sampled_from(["", "outer", "inner"]),
        undone=st.sampled_from(["", "inner", "outer"]),
        again=st.booleans(),
        is_page=st.booleans(),
    )
    def a_view_refreshes_in_its_transaction(
        self, link: Link, changed: str, undone: str, again: bool, is_page: bool
    ) -> None:
        """It may have changed the account first, in its transaction or in a savepoint; either is rolled back, or none. After a page the
        middleware takes over what was noted; after a command nobody does yet.
        """
        if link.is_gone or self.must_wait(link):
            return
        saved = self.model.save_point(link)
        with suppress(Undone), transaction.atomic():
            if changed == "outer":
                self.change(link)
            self.refresh_in_savepoint(link, changed, is_undone=undone == "inner")
            if again and not self.must_wait(link):
                is_held = changed == "outer" or (changed == "inner" and undone != "inner")
                self.refresh_in_transaction(link, is_held=is_held)
            if undone == "outer":
                raise Undone
        if undone == "outer":
            self.undo(link, saved, is_held=bool(changed))
        if is_page and recovery.has_left():
            self.take_over(link)
            recovery.recover_left()
        spent_tokens.forget_left()

    def refresh_in_savepoint(self, link: Link, changed: str, *, is_undone: bool) -> None:
        saved = self.model.save_point(link)
        with suppress(Undone), transaction.atomic():
            if changed == "inner":
                self.change(link)
            self.refresh_in_transaction(link, is_held=bool(changed))
            if is_undone:
                raise Undone
        if is_undone:
            self.undo(link, saved, is_held=bool(changed))

    def undo(self, link: Link, saved: dict[str, Any], *, is_held: bool) -> None:
        """Undo what the transaction has done itself: on PostgreSQL a connection of its own has refreshed a row that it does not hold."""
        if has_one_writer() or is_held:
            self.model.undo(link, saved, is_all=has_one_writer())

    def change(self, link: Link) -> None:
        account = OntraportAccount.objects.get(uid=self.uids[link])
        account.label = f"{account.label[:20]}+"
        account.save()

    def refresh_in_transaction(self, link: Link, *, is_held: bool) -> None:
        uid = self.uids[link]
        account = OntraportAccount.objects.get(uid=uid)
        expected = self.model.refresh(
            Seen.of(link),
            is_abandoned=self.site.is_abandoned(uid),
            is_inside=is_held or has_one_writer(),
            is_tried_outside=is_held and not has_one_writer(),
        )
        assert error_of(lambda: one_account.refresh(account)) == expected
        if expected is None:
            assert account.access_token.reveal() == f"a.{link.grant}.{link.serial}"

    @rule(link=Lifecycle.links, is_sent=st.booleans())
    def a_view_is_killed_in_its_transaction(self, link: Link, is_sent: bool) -> None:
        model, uid = self.model, self.uids[link]
        if link.is_gone or not link.is_connected or self.must_wait(link) or model.noted(link) or model.is_misdeployed:
            return
        if model.hold is not None or self.site.is_abandoned(uid):
            return
        self.site.spend_and_die(uid, is_sent=is_sent)
        claim = model.claim(link, is_probe=False)
        if is_sent:
            model.answer(claim)
        model.notes[link.grant, link.serial] = Note(at=model.now, until=model.now + leases.duration())

    # A second installation

    @rule(link=Lifecycle.links)
    def a_copy_of_the_database_is_used_elsewhere(self, link: Link) -> None:
        """Staging does what a site does all day. Nothing of it reaches Ontraport, and no row is changed."""
        heard = len(self.provider.endpoint.heard)
        account = OntraportAccount.objects.filter(uid=self.uids[link]).first()
        with override_settings(ONTRAPORT_INSTALLATION="staging"):
            error_of(lambda: batches.refresh_batch(list(OntraportAccount.objects.values_list("pk", flat=True))))
            revoking.deliver_revocations(50)
            if account is not None and account.is_connected:
                assert error_of(lambda: one_account.refresh(account)) is OntraportMisconfigured
        assert len(self.provider.endpoint.heard) == heard

    # Wrong deploys

    @rule(what=st.sampled_from(["client", "endpoints", "put back", "put back"]))
    def the_site_is_deployed(self, what: str) -> None:
        self.deploy(client="another-client" if what == "client" else CLIENT, is_elsewhere=what == "endpoints")


@pytest.fixture
def provider() -> Iterator[StrictProvider]:
    with StrictProvider() as server:
        yield server
    Session.objects.all().delete()


def test_whatever_happens_a_link_lives_or_its_customer_is_asked(
    provider: StrictProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(strikes.THRESHOLDS, strikes.GRANT_ENDED, MANY_ENDED)
    with StrictServer() as elsewhere:
        run_state_machine_as_test(
            cast("type[Lifecycle]", lambda: WholeLife(provider, elsewhere)),
            settings=settings(
                max_examples=int(os.environ.get("HYPOTHESIS_EXAMPLES", "15")),
                stateful_step_count=30,
                deadline=None,
                phases=PHASES,
            ),
        )
