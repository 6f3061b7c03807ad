"""Any sequence of what customers, workers, operators, Ontraport and the clock may do, compared with a model after each step.

``lifecycle_linking`` has the steps of linking; ``lifecycle_machine`` those of refreshing and using, and of processes that stop; here are
transactions that are rolled back, and wrong deploys. A batch makes one call after the other here, so that the model knows their order.
``HYPOTHESIS_EXAMPLES`` is the number of sequences to try.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from typing import cast

import pytest
from django.contrib.sessions.models import Session
from django.db import transaction
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import rule, run_state_machine_as_test

from ontraport_connect.database import has_one_writer
from ontraport_connect.models import OntraportAccount
from ontraport_connect.refreshing import one_account, recovery, spent_tokens, strikes
from tests.support.lifecycle_machine import Lifecycle, error_of
from tests.support.lifecycle_site import Undone
from tests.support.lifecycle_values import CLIENT, LEASE, MANY_ENDED, Link, Note, Seen
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
        is_killed=st.booleans(),
    )
    def a_view_refreshes_in_its_transaction(  # noqa: C901
        self, link: Link, changed: str, undone: str, again: bool, is_killed: bool
    ) -> None:
        """It may have changed the account first, in its transaction or in a savepoint; either is rolled back, or none. Then its request
        ends, and the middleware takes over what this request noted, unless the process is killed before.
        """
        if link.is_gone or self.must_wait(link):
            return
        is_sqlite = has_one_writer()
        before, noted = self.model.save_point(link), dict(self.model.notes)
        with suppress(Undone), transaction.atomic():
            if changed == "outer":
                self.change(link)
            before_inner = self.model.save_point(link)
            with suppress(Undone), transaction.atomic():
                if changed == "inner":
                    self.change(link)
                self.refresh_in_transaction(link, is_inside=is_sqlite or bool(changed))
                if undone == "inner":
                    raise Undone
            if undone == "inner" and (is_sqlite or changed):
                self.model.undo(link, before_inner, is_all=is_sqlite)
            if again and not self.must_wait(link):
                is_held = changed == "outer" or (changed == "inner" and undone != "inner")
                self.refresh_in_transaction(link, is_inside=is_sqlite or is_held)
            if undone == "outer":
                raise Undone
        if undone == "outer" and (is_sqlite or changed):
            self.model.undo(link, before, is_all=is_sqlite)
        if is_killed:
            spent_tokens.forget_left()
        elif any(note.is_answered and noted.get(which) != note for which, note in self.model.notes.items()):
            self.answer_is_taken_over(link)
        recovery.recover_left()

    def change(self, link: Link) -> None:
        account = OntraportAccount.objects.get(uid=self.uids[link])
        account.label = f"{account.label[:20]}+"
        account.save()

    def refresh_in_transaction(self, link: Link, *, is_inside: bool) -> None:
        uid = self.uids[link]
        account = OntraportAccount.objects.get(uid=uid)
        expected = self.model.refresh(
            Seen.of(link),
            is_abandoned=self.site.is_abandoned(uid),
            is_inside=is_inside,
            is_tried_outside=is_inside and not has_one_writer(),
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
        model.notes[link.grant, link.serial] = Note(at=model.now, until=model.now + LEASE)

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
                max_examples=int(os.environ.get("HYPOTHESIS_EXAMPLES", "25")),
                stateful_step_count=30,
                deadline=None,
                phases=PHASES,
            ),
        )
