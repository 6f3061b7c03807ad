"""A site with other apps that read, copy and schedule what is ours, in a process of its own: what comes of a link there.

    python -m tests.support.neighbours SANDBOX_URL

prints what came of it as JSON. The settings come as ``TEST_SETTINGS``.
"""

from __future__ import annotations

import json
import sys
from datetime import timedelta
from typing import Any

import django
from celery import current_app, shared_task

django.setup()

from auditlog.models import LogEntry  # noqa: E402
from auditlog.registry import auditlog  # noqa: E402
from django.apps import apps  # noqa: E402
from django.conf import settings  # noqa: E402
from django.contrib.auth import get_user_model  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.db import connection  # noqa: E402
from django.test import Client, override_settings  # noqa: E402
from django.urls import include, path, reverse  # noqa: E402
from django.utils import timezone  # noqa: E402
from django_celery_beat.models import PeriodicTask  # noqa: E402
from django_celery_beat.schedulers import DatabaseScheduler  # noqa: E402
from django_celery_results.backends import DatabaseBackend  # noqa: E402
from django_celery_results.models import TaskResult  # noqa: E402
from import_export.resources import modelresource_factory  # noqa: E402
from simple_history import register  # noqa: E402
from tablib import Dataset  # noqa: E402

from ontraport_connect import tasks  # noqa: E402
from ontraport_connect.models import OntraportAccount, OntraportEvent, OntraportService  # noqa: E402
from ontraport_connect.schedule import BEAT_SCHEDULE  # noqa: E402
from tests.support import ontraport  # noqa: E402
from tests.support.servers import Sandbox  # noqa: E402

urlpatterns = [
    path("hijack/", include("hijack.urls")),
    path("loginas/", include("loginas.urls")),
    path("su/", include("django_su.urls")),
    path("", include("tests.urls")),
]


@shared_task(name="own_task")
def own_task() -> int:
    return 1


def history_of_accounts() -> Any:
    return apps.get_app_config("ontraport_connect").get_model("HistoricalOntraportAccount")


class Journey:
    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        current_app.conf.update(result_extended=True)
        register(OntraportAccount)
        auditlog.register(OntraportAccount)
        call_command("migrate", verbosity=0)
        if "Manifest" in settings.STORAGES["staticfiles"]["BACKEND"]:
            call_command("collectstatic", interactive=False, verbosity=0)
        with connection.schema_editor() as editor:
            editor.create_model(history_of_accounts())
        users: Any = get_user_model().objects
        self.maya = users.create_user("maya")
        self.support = users.create_superuser("support")

    def run(self) -> dict[str, Any]:
        steps = (self.hijack, self.acted, self.history, self.audit, self.imported, self.beat, self.results, self.unfold)
        return {step.__name__: step() for step in steps}

    @property
    def account(self) -> OntraportAccount:
        return OntraportAccount.objects.get()

    def hijack(self) -> list[Any]:
        """https://github.com/django-hijack/django-hijack/issues/560: support lets go of the customer while at Ontraport."""
        client = Client()
        client.force_login(self.support)
        client.post(reverse("hijack:acquire"), {"user_pk": self.maya.pk})
        answer = ontraport.consent(ontraport.press_connect(client))
        client.post(reverse("hijack:release"))
        released = ontraport.come_back(client, answer)["Location"]
        exchanged = self.sandbox.state()["counts"]["token:authorization_code"]
        client.post(reverse("hijack:acquire"), {"user_pk": self.maya.pk})
        linked = ontraport.link(client, self.sandbox)["Location"]
        return [released, exchanged, linked, self.account.user == self.maya]

    def acted(self) -> list[str]:
        """https://github.com/django-hijack/django-hijack/issues/560: whose name the history has for what support does as a customer."""
        starts = {
            reverse("hijack:acquire"): {"user_pk": self.maya.pk},
            reverse("loginas-user-login", args=[self.maya.pk]): {},
            reverse("login_as_user", args=[self.maya.pk]): {},
        }
        for start, form in starts.items():
            client = Client()
            client.force_login(self.support, backend="django.contrib.auth.backends.ModelBackend")
            client.post(start, form)
            self.account.delete()
            ontraport.link(client, self.sandbox)
        return [event.actor for event in OntraportEvent.objects.filter(kind="linked")]

    def history(self) -> list[Any]:
        """https://github.com/django-commons/django-simple-history/issues/382: an expression reached the receivers of ``post_save``."""
        account = self.account
        account.access_token = account.access_token.reveal()
        account.save()
        return [
            type(account.version).__name__,
            account.version == self.account.version == history_of_accounts().objects.latest("history_date").version,
        ]

    def audit(self) -> list[Any]:
        changes = [json.dumps(entry.changes) for entry in LogEntry.objects.get_for_object(self.account)]
        token = self.account.access_token.reveal()
        return [bool(changes), any("F(" in each or token in each for each in changes)]

    def imported(self) -> list[Any]:
        """https://github.com/ansible/awx/issues/7523: what was shown in place of a secret was written back."""
        resource = modelresource_factory(OntraportAccount)()
        (row,) = resource.export().dict
        shown = [row[name] for name in ("access_token", "refresh_token")]
        result = resource.import_data(Dataset(list({**row, "label": "Shop"}.values()), headers=list(row)))
        return [shown, len(result.invalid_rows), self.account.mcp("count_objects", objectID="0")]

    def beat(self) -> list[Any]:
        """https://github.com/celery/django-celery-beat/issues/227: a zone of the scheduler's own moved what is due."""
        current_app.conf.update(
            task_always_eager=True,
            broker_url="memory://",
            timezone="America/Chicago",
            beat_schedule=BEAT_SCHEDULE,
        )
        (name,) = BEAT_SCHEDULE
        DatabaseScheduler(current_app).schedule[name].save()
        task = PeriodicTask.objects.filter(name=name)
        seen = []
        for seconds in (30, 90):
            task.update(last_run_at=timezone.now() - timedelta(seconds=seconds))
            DatabaseScheduler(current_app).tick()
            seen.append(OntraportService.objects.filter(beat_at__isnull=False).exists())
        return seen

    def results(self) -> list[bool]:
        """Which tasks leave a result in the tables of django-celery-results: the site's own, and none of ours."""
        for task in (own_task, tasks.refresh_accounts, tasks.refresh_expiring_tokens):
            task.backend, task.store_eager_result = DatabaseBackend(current_app), True
        own_task.delay()
        tasks.refresh_accounts.delay([self.account.pk])
        tasks.refresh_expiring_tokens.delay()
        return [
            TaskResult.objects.filter(task_name=name).exists() for name in ("own_task", tasks.refresh_accounts.name)
        ]

    def unfold(self) -> list[Any]:
        """The admin in the clothes of django-unfold."""
        client = Client()
        client.force_login(self.support, backend="django.contrib.auth.backends.ModelBackend")
        admin = "admin:ontraport_connect_ontraportaccount"
        pages = [reverse(f"{admin}_{page}") for page in ("changelist", "glance")]
        pages += [reverse(f"{admin}_{page}", args=[self.account.pk]) for page in ("change", "history", "delete")]
        answers = [client.get(page) for page in pages]
        ask = {"action": "disconnect", "_selected_action": self.account.pk}
        answers.append(client.post(pages[0], ask))
        is_dressed = all("unfold" in each.content.decode() for each in answers)
        gone = client.post(pages[0], {**ask, "post": "yes"})
        return [*(each.status_code for each in (*answers, gone)), is_dressed, OntraportAccount.objects.exists()]


if __name__ == "__main__":
    sandbox = Sandbox.__new__(Sandbox)  # that of the test, which runs already
    sandbox.url = sys.argv[1]
    with override_settings(**ontraport.settings_for(sandbox.url)):
        print(json.dumps(Journey(sandbox).run()))
