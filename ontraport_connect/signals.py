"""What other code can listen to. Each is sent with ``account``; a receiver that raises is logged and breaks nothing."""

from __future__ import annotations

from django.dispatch import Signal

account_linked = Signal()
account_refreshed = Signal()
account_needs_reconnect = Signal()
account_recovered = Signal()
account_disconnected = Signal()
