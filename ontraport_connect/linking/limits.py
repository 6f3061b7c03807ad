"""Limits on how many accounts an owner links, and on how often a person, or an address, makes this site call Ontraport to link one.

Ontraport limits how often one client calls it. Without these limits anybody who may link could use that up for the whole site.
"""

from __future__ import annotations

import hashlib
from ipaddress import IPv6Address, IPv6Network, ip_address

from django.utils.translation import gettext as _

from ontraport_connect import using
from ontraport_connect.exceptions import LinkingFailed

from .owner import Owner

MAX_ACCOUNTS = 50
"""Accounts of one owner: each is refreshed for ever."""

WINDOW = 600.0
"""Seconds in which the calls below are counted."""

MAX_KEY_PAIRS = 30
MAX_EXCHANGES = 30
MAX_EXCHANGES_OF_ADDRESS = 300
"""Higher than ``MAX_EXCHANGES``: an office, or all visitors behind a proxy, may share one address."""

ONE_LINE = 64
"""Bits of an IPv6 address that stand for one subscriber, who can choose the others freely (RFC 6177)."""


def require_room(owner: Owner) -> None:
    """Raise ``LinkingFailed`` when the owner has ``MAX_ACCOUNTS`` accounts already."""
    if owner.accounts().count() >= MAX_ACCOUNTS:
        raise LinkingFailed(
            _("You've connected %(most)d accounts, which is the limit. Disconnect one you no longer need first.")
            % {"most": MAX_ACCOUNTS},
            code="too_many_accounts",
        )


def count_key_pair(owner: Owner) -> None:
    """Count a key pair that a person tries. Raises ``LinkingFailed`` when there were ``MAX_KEY_PAIRS`` of theirs in ``WINDOW`` seconds."""
    if _is_over("keys", owner.user.pk, MAX_KEY_PAIRS):
        raise LinkingFailed(
            _(
                "Too many attempts. Please wait ten minutes from now and try again. Until then, no key is checked, not even the right one."
            ),
            code="too_many",
        )


def count_exchange(owner: Owner, address: str) -> None:
    """Count the exchange of a code, by person and by IP address (empty when unknown). Raises ``LinkingFailed`` beyond the limits.

    Addresses of one IPv6 network of ``ONE_LINE`` bits count as one.
    """
    is_over = _is_over("exchanges", owner.user.pk, MAX_EXCHANGES)
    if is_over or (address and _is_over("exchanges-of-address", _line(address), MAX_EXCHANGES_OF_ADDRESS)):
        raise LinkingFailed(_("Too many attempts. Please wait ten minutes and try again."), code="too_many")


def _line(address: str) -> str:
    """Return what stands for all addresses that whoever has ``address`` can choose from. What is no address stands for itself."""
    try:
        found = ip_address(address)
    except ValueError:
        return address
    if not isinstance(found, IPv6Address):
        return str(found)
    return str(found.ipv4_mapped or IPv6Network((int(found), ONE_LINE), strict=False))


def _is_over(kind: str, who: object, most: int) -> bool:
    """Count once more. ``who`` is hashed, because it may be longer than a key of the rate limiter, and an address is personal data."""
    digest = hashlib.sha256(str(who).encode()).hexdigest()[:32]
    return using.throttle(f"{kind}:{digest}", most=most, seconds=WINDOW) > 0
