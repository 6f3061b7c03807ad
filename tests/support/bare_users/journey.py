"""What a person and the site's operator do on a site with a user model of its own, in a process of its own.

    python -m tests.support.bare_users.journey SANDBOX_URL

prints what came of it as JSON. The settings come as ``TEST_SETTINGS``.
"""

from __future__ import annotations

import json
import sys
from datetime import timedelta
from io import StringIO
from typing import Any

import django
from celery import current_app

django.setup()

from django.contrib.auth import get_user_model  # noqa: E402
from django.core import checks, mail  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.test import Client, override_settings  # noqa: E402
from django.urls import reverse  # noqa: E402
from django.utils import timezone  # noqa: E402

from ontraport_connect import tasks  # noqa: E402
from ontraport_connect.models import EventKind, OntraportAccount, OntraportEvent, Status  # noqa: E402
from tests.support import ontraport  # noqa: E402
from tests.support.bare_users.models import Branch, Shop, Subscriber  # noqa: E402
from tests.support.servers import Sandbox  # noqa: E402

ADMIN = "admin:ontraport_connect_ontraportaccount"
LEFT = {"email": "maya@example.com", "has_left": True}
"""Somebody with an address, who has left the site."""


def refresh_all() -> None:
    call_command("ontraport", "refresh", "--all", stdout=StringIO(), stderr=StringIO())


def try_to_disconnect(client: Client, account: OntraportAccount) -> list[Any]:
    """Disconnect an account that a row of the site needs: on the pages, as JSON, and in the admin."""
    url = reverse("ontraport_connect:disconnect", args=[account.uid])
    listed, delete = reverse(f"{ADMIN}_changelist"), reverse(f"{ADMIN}_delete", args=[account.pk])
    asked = {"action": "disconnect", "_selected_action": account.pk}
    seen: list[Any] = []
    for model in (Shop, Branch):
        row = model.objects.create(account=account)
        answers: list[Any] = [client.post(url), client.post(url, "{}", content_type="application/json")]
        answers += [client.post(listed, asked, follow=True), client.post(delete, {"post": "yes"})]
        names = model._meta.verbose_name_plural, model.__name__
        words = ("is still in use", '"error": "in_use"', *(f"nothing was disconnected: {name}" for name in names))
        said = [word in answer.content.decode() for word, answer in zip(words, answers, strict=True)]
        seen.append([[answer.status_code for answer in answers], all(said), OntraportAccount.objects.count()])
        row.delete()
    return seen


def journey(sandbox: Any) -> dict[str, Any]:
    current_app.conf.task_always_eager = True
    call_command("migrate", run_syncdb=True, verbosity=0)
    people: Any = get_user_model().objects
    maya = people.create(name=None if issubclass(get_user_model(), Subscriber) else "maya")
    client = Client()
    client.force_login(maya)
    seen: dict[str, Any] = {"linked": ontraport.link(client, sandbox)["Location"]}
    account = OntraportAccount.objects.get()
    seen["owner"] = account.user == maya

    for name, refresh in (("beat", tasks.refresh_expiring_tokens), ("command", refresh_all)):
        OntraportAccount.objects.update(refresh_at=timezone.now() - timedelta(minutes=1))
        refresh()
        account.refresh_from_db()
        seen[name] = account.refresh_at is not None and account.refresh_at > timezone.now()
    seen["used"] = account.mcp("count_objects", objectID="0")
    seen["pages"] = [
        client.get(address).status_code
        for address in (
            reverse("ontraport_connect:accounts"),
            reverse(f"{ADMIN}_changelist"),
            f"{reverse(f'{ADMIN}_changelist')}?state=inactive",
            f"{reverse(f'{ADMIN}_changelist')}?q=maya",
            reverse(f"{ADMIN}_glance"),
            reverse(f"{ADMIN}_change", args=[account.pk]),
        )
    ]

    seen["needed"] = try_to_disconnect(client, account)
    OntraportAccount.objects.update(status=Status.NEEDS_RECONNECT, linked_at=timezone.now() - timedelta(days=1))
    OntraportEvent.record(account, EventKind.NEEDS_RECONNECT)
    OntraportEvent.objects.filter(kind=EventKind.NEEDS_RECONNECT).update(at=timezone.now() - timedelta(minutes=10))
    people.update(**{name: value for name, value in LEFT.items() if hasattr(maya, name)})
    seen["notices"] = [tasks.send_notices(), len(mail.outbox)]
    seen["checks"] = [message.id for message in checks.run_checks() if "ontraport" in str(message.id)]
    maya.delete()
    seen["left"] = OntraportAccount.objects.count()
    return seen


if __name__ == "__main__":
    sandbox = Sandbox.__new__(Sandbox)  # that of the test, which runs already
    sandbox.url = sys.argv[1]
    with override_settings(**ontraport.settings_for(sandbox.url)):
        mail.outbox = []
        print(json.dumps(journey(sandbox)))
