"""What is remembered between two rounds of e-mails about changes: which events are done with, and which are tried again when.

It is one row of ``OntraportBudget``. Rounds may overlap: each says what it has done, and none writes over what another has said.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Self

from ontraport_connect.using import DatabaseStore

KEY = "change-notices"

PAUSES = (0.0, 600.0, 3600.0, 14_400.0)
"""Seconds after which an e-mail that failed is tried again; after the last of them it is given up."""

MAX_DONE = 500
"""The most events that are remembered one by one. One that is committed late is told, unless so many later ones were told before it."""

MAX_AGAIN = 1000
"""The most events that wait for another attempt; the rest are given up."""


@dataclass(kw_only=True, slots=True)
class ChangeMemory:
    """``after``: events up to this number are done with, and so are those in ``done``. ``again``: events that failed, with the number of
    attempts and the time of the next, in seconds since the epoch by the clock of the database.
    """

    held: Any
    now: float
    after: int = 0
    done: list[int] = field(default_factory=list)
    again: dict[int, tuple[int, float]] = field(default_factory=dict)

    @classmethod
    def load(cls) -> Self:
        held = DatabaseStore().load(KEY)
        values = json.loads(held.state or "{}")
        again = {int(pk): (tries, at) for pk, (tries, at) in values.pop("again", {}).items()}
        return cls(held=held, now=held.now / 1000, again=again, **values)

    @property
    def is_new(self) -> bool:
        """Whether nothing has been remembered yet."""
        return not self.held.state

    def save(self) -> bool:
        """Returns False when another process has saved since this was read."""
        state = {"after": self.after, "done": self.done, "again": self.again}
        return DatabaseStore().replace(KEY, self.held, json.dumps(state))

    @classmethod
    def change(cls, step: Callable[[Self], None]) -> None:
        """Apply ``step`` to what is remembered by now, whoever else changes it."""
        while True:
            memory = cls.load()
            step(memory)
            if memory.save():
                return

    def ready(self) -> list[int]:
        """Return the events that failed and may be tried now, the one that has waited longest first."""
        return [pk for pk, (_tries, at) in sorted(self.again.items(), key=lambda item: item[1][1]) if at <= self.now]

    def take(self, fresh: Iterable[int], ready: Iterable[int]) -> None:
        """Take these events: no other round tells them."""
        done = sorted({*self.done, *fresh})
        gone, self.done = done[:-MAX_DONE], done[-MAX_DONE:]
        self.after = max([self.after, *gone])
        self.again = {pk: entry for pk, entry in self.again.items() if pk not in set(ready)}

    def give_back(self, pk: int, tries: int | None) -> bool:
        """Give back an event that was not tried. ``tries``: how often it failed before, or ``None`` for one that was new. Returns False
        when there is no room for it.
        """
        if tries is None and pk > self.after:
            self.done = [each for each in self.done if each != pk]
            return True
        return self._wait(pk, tries or 0, self.now)

    def try_again(self, pk: int, tries: int) -> bool:
        """Try an event again that has failed ``tries`` times. Returns False when it is given up."""
        return tries <= len(PAUSES) and self._wait(pk, tries, self.now + PAUSES[max(tries, 1) - 1])

    def _wait(self, pk: int, tries: int, at: float) -> bool:
        has_room = len(self.again) < MAX_AGAIN
        if has_room:
            self.again[pk] = (tries, at)
        return has_room
