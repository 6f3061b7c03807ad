"""Signals for other code. An exception in a receiver is logged and has no other effect.

Those of accounts are sent with ``account``. Those of the site are sent with ``code``, once a change, by the process that finds it:
``site_refused`` when refreshing is paused, because Ontraport refuses this site as a client or many grants ended at once, and
``site_accepted`` when it goes on.
"""

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

site_refused = Signal()
"""Ontraport began to refuse this site as a client, or many accounts at once: refreshing is paused. ``code`` tells why."""

site_accepted = Signal()
"""Ontraport accepts this site again. ``code`` is that of the pause which ended."""
