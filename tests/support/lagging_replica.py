"""A site that reads from a replica which is behind, in a process of its own: what a person sees right after each step.

    python -m tests.support.lagging_replica SANDBOX_URL

prints what came of it as JSON. The settings come as ``TEST_SETTINGS``.
"""

from __future__ import annotations

import json
import sys
from datetime import timedelta
from typing import Any

import django
from celery import current_app


class Router:
    """Reads go to the replica, unless they say where; writes go to the primary."""

    def db_for_read(self, model: Any, **hints: Any) -> str:
        return "replica" if model._meta.app_label == "ontraport_connect" else "default"

    def db_for_write(self, model: Any, **hints: Any) -> str:
        return "default"

    def allow_relation(self, first: Any, second: Any, **hints: Any) -> bool:
        return True


def journey(sandbox: Any) -> dict[str, Any]:
    from django.contrib.auth import get_user_model  # noqa: PLC0415 - Django must be set up first
    from django.core.management import call_command  # noqa: PLC0415
    from django.test import Client, RequestFactory  # noqa: PLC0415
    from django.urls import reverse  # noqa: PLC0415
    from django.utils import timezone  # noqa: PLC0415

    from ontraport_connect import tasks  # noqa: PLC0415
    from ontraport_connect.middleware import RequestAccounts  # noqa: PLC0415
    from ontraport_connect.models import OntraportAccount  # noqa: PLC0415
    from tests.support import ontraport  # noqa: PLC0415

    current_app.conf.task_always_eager = True
    for alias in ("default", "replica"):
        call_command("migrate", database=alias, verbosity=0)
    maya: Any = get_user_model().objects.create_superuser("maya")
    client = Client()
    client.force_login(maya)
    accounts = OntraportAccount.objects.using("default")

    def shown(text: str) -> bool:
        return text in client.get(reverse("ontraport_connect:accounts")).content.decode()

    seen: dict[str, Any] = {"linked": ontraport.link(client, sandbox)["Location"]}
    account = accounts.get()
    seen["shown"] = [shown(str(account.uid)), shown("No Ontraport account is connected")]
    client.post(reverse("ontraport_connect:rename", args=[account.uid]), {"label": "Fresh name"})
    seen["renamed"] = shown("Fresh name")
    request: Any = RequestFactory().get("/")
    request.user = maya
    seen["in a view"] = [each.pk for each in RequestAccounts(request).accounts] == [account.pk]
    accounts.update(refresh_at=timezone.now() - timedelta(minutes=1))
    tasks.refresh_expiring_tokens()
    refreshed = accounts.get()
    seen["refreshed once"] = refreshed.version - account.version
    seen["used"] = refreshed.mcp("count_objects", objectID="0")
    client.post(reverse("ontraport_connect:disconnect", args=[account.uid]))
    seen["left"] = [accounts.count(), shown(str(account.uid))]
    seen["alive"] = any(grant["alive"] for grant in sandbox.state()["grants"])
    seen["replica"] = OntraportAccount.objects.count()
    return seen


if __name__ == "__main__":
    django.setup()
    from django.test import override_settings

    from tests.support import ontraport
    from tests.support.servers import Sandbox

    running = Sandbox.__new__(Sandbox)  # that of the test
    running.url = sys.argv[1]
    with override_settings(**ontraport.settings_for(running.url)):
        print(json.dumps(journey(running)))
