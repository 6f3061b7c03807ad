"""The passing of time for e-mails about changes."""

from __future__ import annotations

from ontraport_connect.staff.change_memory import ChangeMemory


def let_pauses_pass() -> None:
    """As if hours had passed since anything failed."""
    memory = ChangeMemory.load()
    memory.again = {pk: (tries, 0.0) for pk, (tries, _at) in memory.again.items()}
    assert memory.save()
