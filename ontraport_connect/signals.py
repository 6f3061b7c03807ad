"""Signals for other code, each sent with ``account``. An exception in a receiver is logged and has no other effect."""

from __future__ import annotations

from django.dispatch import Signal

account_linked = Signal()
"""Somebody linked an account or reconnected one, and it is committed. ``created`` is false for a reconnect."""

account_refreshed = Signal()
"""An access token was refreshed, and the new one is stored."""

account_needs_reconnect = Signal()
"""Ontraport has ended the grant, or refuses the key pair: only the customer can go on, by reconnecting."""

account_recovered = Signal()
"""Refreshing had failed and works again, or a key pair that was refused is accepted again."""

account_disconnected = Signal()
"""An account was deleted, and it is committed: its owner, staff or your code disconnected it, or its user was deleted."""
