"""Signals for other code. An exception in a receiver is logged and has no other effect.

Those of accounts are sent with ``account``. Those of the site are sent with ``code``, once a change, by the process that finds it:
``site_refused`` when refreshing is paused, because Ontraport refuses this site as a client or many grants ended at once, and
``site_accepted`` when it goes on.
"""

from __future__ import annotations

from django.dispatch import Signal

account_linked = Signal()
account_refreshed = Signal()
account_needs_reconnect = Signal()
account_recovered = Signal()
account_disconnected = Signal()

site_refused = Signal()
site_accepted = Signal()
