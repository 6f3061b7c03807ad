"""Signals for other code, each sent with ``account``. An exception in a receiver is logged and has no other effect."""

from __future__ import annotations

from django.dispatch import Signal

account_linked = Signal()
account_refreshed = Signal()
account_needs_reconnect = Signal()
account_recovered = Signal()
account_disconnected = Signal()
