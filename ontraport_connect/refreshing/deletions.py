"""What the deletion of an account leaves behind, whatever deletes it: its grant to revoke, an event, and a signal."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.apps import apps
from django.db import transaction
from django.db.models import Model
from django.db.models.signals import class_prepared, pre_delete
from django.dispatch import receiver

from ontraport_connect.exceptions import OntraportMisconfigured
from ontraport_connect.models import EventKind, Method, OntraportAccount, OntraportEvent
from ontraport_connect.signals import account_disconnected

from . import installation, spent_tokens
from .revoking import queue_revocation


@receiver(pre_delete, sender=OntraportAccount, dispatch_uid="ontraport_connect.refreshing.deletions")
def queue_on_delete(instance: OntraportAccount, using: str, **kwargs: Any) -> None:
    """Queue the grant of a deleted account for revocation and record the event, also when a user or a queryset is deleted."""
    current = OntraportAccount.objects.using(using).select_for_update().filter(pk=instance.pk).first()
    if current is None:
        return
    detail = ""
    if current.method == Method.OAUTH:
        try:
            installation.require_own_database(using)  # a copy's grants are the original's, and not to be revoked here
            grant = spent_tokens.successor(current) or current.refresh_token or current.access_token
            if grant is not None:
                queue_revocation(current, grant, using)
        except OntraportMisconfigured as error:
            detail = error.code
    OntraportEvent.record(current, EventKind.DISCONNECTED, detail, using=using)
    transaction.on_commit(
        lambda: account_disconnected.send_robust(sender=OntraportAccount, account=current), using=using
    )


PROXY_UID = "ontraport_connect.refreshing.deletions.proxy"


def watch_proxies(models: Iterable[type[Model]]) -> None:
    """Connect ``queue_on_delete`` to the proxy models of accounts: Django sends their deletion under their own name.

    A receiver for every sender would do, too, but cost all models of the site their fast deletes.
    """
    for model in models:
        if model._meta.proxy and model._meta.concrete_model is OntraportAccount:
            pre_delete.connect(queue_on_delete, sender=model, dispatch_uid=PROXY_UID)


@receiver(class_prepared, dispatch_uid="ontraport_connect.refreshing.deletions.class_prepared")
def watch_new_model(sender: type[Model], **kwargs: Any) -> None:
    watch_proxies([sender])


watch_proxies(apps.get_models())
