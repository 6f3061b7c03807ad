"""The accounts of a batch that are claimed ahead, so that those who call never wait for that"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Collection, Sequence

from ontraport_connect.database import DATABASE_IS_AWAY

from . import leases
from .due_accounts import among, due
from .leases import Lease
from .recovery import recover


class Claims:
    """Leases that a batch holds. Whatever ends it, those on tokens that were not sent can be given back.

    ``held`` has the owner of the lease that each row may have, from before it is claimed until what came for its token is saved;
    ``report(error, text, *args)`` is called while an error is handled.
    """

    def __init__(self, pks: Sequence[int], report: Callable[..., None]) -> None:
        self.due = due()
        self.pks = deque(pks)
        self.ready: deque[Lease] = deque()
        self.held: dict[int, str] = {}
        self.counts: Counter[str] = Counter()
        self._was_given_back = False
        self._report = report

    def take(self, number: int, *, is_probe: bool) -> None:
        """Claim the next ``number`` accounts. Answers that are noted for them are taken over."""
        pks = [self.pks.popleft() for _ in range(min(number, len(self.pks)))]
        owner = leases.new_owner()
        self.held.update(dict.fromkeys(pks, owner))
        found = leases.claim(among(self.due, pks), pks, is_probe=is_probe, owner=owner)
        for pk in {*pks} - {lease.account.pk for lease in found}:
            del self.held[pk]
        self.ready.extend(lease for lease in found if not self._is_recovered(lease))

    def _is_recovered(self, lease: Lease) -> bool:
        """Tell whether nothing is to be sent. What fails with one account holds up no other."""
        try:
            if not recover(lease):
                return False
        except DATABASE_IS_AWAY:
            raise
        except Exception as error:  # noqa: BLE001  # code of the site runs with each statement, and may raise anything
            self._report(error, "What is noted on account %s could not be taken over.", lease.account.uid)
        else:
            self.counts["recovered"] += 1
        del self.held[lease.account.pk]
        return True

    def give_back(self, in_flight: Collection[int]) -> None:
        """Give back the leases on all tokens but those that are ``in_flight``: at once, and on rows that were locked then once more, when
        nothing is in flight.
        """
        self.ready.clear()
        unsent = {pk: owner for pk, owner in self.held.items() if pk not in in_flight}
        if not in_flight:
            self.held.clear()  # whatever comes of it, that was the last time
        elif self._was_given_back:
            return
        self._was_given_back = True
        try:
            leases.give_back(unsent)
        except Exception as error:  # noqa: BLE001  # what has come is to be saved all the same
            self._report(
                error, "The leases on %s accounts could not be given back; they end by themselves.", len(unsent)
            )
