"""What the deletion of an account, or of its user, leaves behind, whatever deletes it: its grant to revoke, an event, and a signal."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.apps import apps
from django.contrib.auth import get_user_model
from django.db import transaction
from django.db.models import Model
from django.db.models.signals import class_prepared, post_delete, pre_delete
from django.dispatch import receiver

from ontraport_connect.database import alias
from ontraport_connect.encryption import Secret
from ontraport_connect.exceptions import OntraportMisconfigured
from ontraport_connect.models import EventKind, Method, OntraportAccount, OntraportEvent, are_elsewhere
from ontraport_connect.signals import account_disconnected

from . import installation, spent_tokens
from .revoking import queue_revocation
from .telling import tell


@receiver(pre_delete, sender=OntraportAccount, dispatch_uid="ontraport_connect.refreshing.deletions")
def queue_on_delete(instance: OntraportAccount, using: str, **kwargs: Any) -> None:
    """Queue the grant of a deleted account for revocation and record the event, also when a user or a queryset is deleted."""
    current = OntraportAccount.objects.using(using).select_for_update().filter(pk=instance.pk).first()
    if current is None:
        return
    detail, grant = "", None
    if current.method == Method.OAUTH:
        try:
            installation.require_own_database(using, anew=True)  # a copy's grants are not to be revoked here
            grant = spent_tokens.successor(current) or current.refresh_token or current.access_token
            if grant is not None:
                queue_revocation(current, grant, using)
        except OntraportMisconfigured as error:
            detail = error.code
    OntraportEvent.record(current, EventKind.DISCONNECTED, detail, using=using)
    transaction.on_commit(lambda: _let_go_of_notes(current, grant, using), using=using, robust=True)
    transaction.on_commit(lambda: tell(account_disconnected, OntraportAccount, account=current), using=using)


def _let_go_of_notes(account: OntraportAccount, queued: Secret | None, using: str) -> None:
    """Forget the notes on a deleted account. What was noted after ``queued`` was, while its row was held, is to be revoked, too."""
    newest = None if queued is None else spent_tokens.successor(account)
    if queued is not None and newest is not None and newest.reveal() != queued.reveal():
        queue_revocation(account, newest, using)
    spent_tokens.forget_account(account.uid)


def let_go_after_user(instance: Model, using: str, **kwargs: Any) -> None:
    """Let go of what a deleted user had in another database, once the deletion there is certain (see ``models.forget_user``)."""
    if are_elsewhere():
        user = instance.pk  # Django takes it off the instance afterwards
        transaction.on_commit(lambda: _let_go(user), using=using, robust=True)


def _let_go(user: Any) -> None:
    with transaction.atomic(using=alias()):
        accounts = OntraportAccount.objects.using(alias()).filter(user_id=user)
        accounts.filter(tenant="").delete()
        accounts.update(user=None)
        OntraportEvent.objects.using(alias()).filter(user_id=user).update(user=None)


PROXY_UID = "ontraport_connect.refreshing.deletions.proxy"
USER_UID = "ontraport_connect.refreshing.deletions.user"


def watch_proxies(models: Iterable[type[Model]]) -> None:
    """Connect the receivers to users and to the proxy models of both: Django sends their deletion under their own name.

    A receiver for every sender would do, too, but cost all models of the site their fast deletes.
    """
    for model in models:
        if model._meta.proxy and model._meta.concrete_model is OntraportAccount:
            pre_delete.connect(queue_on_delete, sender=model, dispatch_uid=PROXY_UID)
        elif model._meta.concrete_model is get_user_model()._meta.concrete_model:
            post_delete.connect(let_go_after_user, sender=model, dispatch_uid=USER_UID)


@receiver(class_prepared, dispatch_uid="ontraport_connect.refreshing.deletions.class_prepared")
def watch_new_model(sender: type[Model], **kwargs: Any) -> None:
    watch_proxies([sender])


watch_proxies(apps.get_models())
