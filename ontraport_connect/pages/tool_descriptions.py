"""What this site may do at Ontraport, in words for the person who is asked to allow it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from django.db.models import TextChoices
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

from ontraport_connect.conf import conf


class Reach(TextChoices):
    """What a tool can do at worst, from mild to severe."""

    READS = "reads", _("Read")
    CHANGES = "changes", _("Edit")
    DELETES = "deletes", pgettext_lazy("ontraport", "Delete")
    CHARGES = "charges", _("Payments")


@dataclass(frozen=True, kw_only=True, slots=True)
class Use:
    """One thing this site may do. ``words`` is empty for a tool we have no description of."""

    reach: Reach | None
    words: str | Promise
    name: str = ""


TOOLS: Mapping[str, tuple[Reach, Promise]] = {
    "get_account_info": (Reach.READS, _("See the name, number and time zone of your Ontraport account")),
    "list_allowed_object_types": (Reach.READS, _("See which kinds of records you have")),
    "get_object_meta": (Reach.READS, _("See which fields your records have")),
    "get_objects": (Reach.READS, _("Read your contacts and other records")),
    "count_objects": (Reach.READS, _("Count your contacts and other records")),
    "create_object": (Reach.CHANGES, _("Add contacts and other records")),
    "update_object": (Reach.CHANGES, _("Change contacts and other records")),
    "saveorupdate_object": (Reach.CHANGES, _("Add or change contacts and other records")),
    "manage_tags": (Reach.CHANGES, _("Add and remove tags")),
    "delete_object": (Reach.DELETES, _("Delete a contact or another record")),
    "delete_objects": (Reach.DELETES, _("Delete contacts and other records")),
    "create_invoice": (Reach.CHARGES, _("Create invoices")),
    "pay_invoice": (Reach.CHARGES, _("Charge a customer's card for an invoice")),
    "process_transaction": (Reach.CHARGES, _("Charge your customers' cards")),
    "refund_transaction": (Reach.CHARGES, _("Refund payments")),
    "cancel_subscription": (Reach.CHARGES, _("Cancel your customers' subscriptions")),
}

EVERYTHING = (
    (Reach.READS, _("Read your contacts and other records")),
    (Reach.CHANGES, _("Add and change contacts and other records")),
    (Reach.DELETES, _("Delete contacts and other records")),
    (Reach.CHARGES, _("Create invoices, charge cards and refund payments")),
)


def uses() -> Sequence[Use]:
    """Return what the settings allow this site to do, from mild to severe."""
    if conf.ONTRAPORT_MCP_TOOLS is None:
        return [Use(reach=reach, words=words) for reach, words in EVERYTHING]
    return sorted(
        _described(conf.ONTRAPORT_MCP_TOOLS), key=lambda use: list(Reach).index(use.reach) if use.reach else 9
    )


def _described(names: Iterable[str]) -> Iterable[Use]:
    for name in names:
        reach, words = TOOLS.get(name, (None, ""))
        yield Use(reach=reach, words=words, name=name)
