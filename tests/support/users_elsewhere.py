"""A site with this app's tables alone in a second database, in a process of its own: what people, staff and the tasks do there.

    python -m tests.support.users_elsewhere SANDBOX_URL

prints what came of it as JSON. The settings come as ``TEST_SETTINGS``.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import django
from celery import current_app


class Router:
    """The one of docs/how-to/databases.md."""

    def db_for_read(self, model: Any, **hints: Any) -> str:
        return "customers" if model._meta.app_label == "ontraport_connect" else "default"

    db_for_write = db_for_read

    def allow_relation(self, first: Any, second: Any, **hints: Any) -> bool:
        return True

    def allow_migrate(self, db: str, app_label: str, **hints: Any) -> bool:
        return (db == "customers") == (app_label == "ontraport_connect")


class Journey:
    """Django is imported here, because it has to be set up first."""

    def __init__(self, sandbox: Any) -> None:
        from django.contrib.auth import get_user_model  # noqa: PLC0415
        from django.core.management import call_command  # noqa: PLC0415

        from ontraport_connect.models import OntraportAccount, OntraportEvent  # noqa: PLC0415

        self.sandbox = sandbox
        self.seen: dict[str, Any] = {}
        self.accounts, self.events = OntraportAccount.objects, OntraportEvent.objects
        current_app.conf.task_always_eager = True
        for alias in ("default", "customers"):
            call_command("migrate", database=alias, verbosity=0)
        self.users: Any = get_user_model()
        self.people = {
            name: self.users.objects.create_user(name, f"{name}@example.com") for name in ("maya", "tomas", "ana")
        }

    def run(self) -> dict[str, Any]:
        for step in (
            self.tables,
            self.link,
            self.link_at_once,
            self.use,
            self.refresh,
            self.notices,
            self.admin,
            self.command,
        ):
            step()
        for step in (self.disconnect, self.deletion, self.left_behind):
            step()
        return self.seen

    def tables(self) -> None:
        from django.db import connections  # noqa: PLC0415
        from django.urls import resolve, reverse  # noqa: PLC0415

        from ontraport_connect import staff  # noqa: PLC0415

        staff.send_change_notices()  # notes where the history ends
        names = {alias: connections[alias].introspection.table_names() for alias in ("default", "customers")}
        self.seen["outside transactions in"] = sorted(
            resolve(reverse("ontraport_connect:callback")).func._non_atomic_requests  # type: ignore[attr-defined]
        )
        self.seen["tables in default"] = [name for name in names["default"] if name.startswith("ontraport")]
        self.seen["users in customers"] = "auth_user" in names["customers"]

    def link(self) -> None:
        from django.test import Client  # noqa: PLC0415

        from tests.support import ontraport  # noqa: PLC0415

        self.clients = {}
        for name, person in self.people.items():
            self.clients[name] = Client()
            self.clients[name].force_login(person)
            ontraport.link(self.clients[name], self.sandbox)
        self.seen["linked"] = sorted(row.user.username for row in self.accounts.all())
        self.seen["shown"] = [str(self.of(name).uid) in self.page(name, "accounts") for name in self.people]

    def link_at_once(self) -> None:
        """https://github.com/laravel/socialite/issues/442: each of several copies of an answer was an exchange of its own."""
        from django.db import connections  # noqa: PLC0415
        from django.test import Client  # noqa: PLC0415

        from tests.support import ontraport  # noqa: PLC0415

        callback = ontraport.consent(ontraport.press_connect(self.clients["maya"]))
        cookies = {name: morsel.value for name, morsel in self.clients["maya"].cookies.items()}

        def come_back(_: int) -> str:
            copy = Client()
            copy.cookies.load(cookies)
            try:
                return str(ontraport.come_back(copy, callback)["Location"])
            finally:
                connections.close_all()

        with ThreadPoolExecutor(6) as threads:
            self.seen["six answers at once"] = Counter(threads.map(come_back, range(6)))

    def of(self, name: str) -> Any:
        return self.accounts.get(user=self.people[name])

    def page(self, name: str, view: str) -> str:
        from django.urls import reverse  # noqa: PLC0415

        return str(self.clients[name].get(reverse(f"ontraport_connect:{view}")).content.decode())

    def use(self) -> None:
        from django.test import RequestFactory  # noqa: PLC0415

        from ontraport_connect.middleware import RequestAccounts  # noqa: PLC0415

        request: Any = RequestFactory().get("/")
        request.user = self.people["maya"]
        linked: Any = RequestAccounts(request).account
        self.seen["in a view"] = linked.mcp("count_objects", objectID="0")
        self.seen["in code"] = self.of("maya").mcp("count_objects", objectID="0")

    def refresh(self) -> None:
        from django.utils import timezone  # noqa: PLC0415

        from ontraport_connect import tasks  # noqa: PLC0415
        from ontraport_connect.exceptions import OntraportRejected  # noqa: PLC0415

        self.users.objects.filter(username="tomas").update(is_active=False)
        before = {name: self.of(name).version for name in self.people}
        self.accounts.update(refresh_at=timezone.now() - timedelta(minutes=1))
        tasks.refresh_expiring_tokens()
        self.seen["refreshed"] = {name: self.of(name).version - before[name] for name in self.people}
        try:
            self.of("tomas").mcp("count_objects", objectID="0")
        except OntraportRejected as error:
            self.seen["inactive"] = error.code

    def notices(self) -> None:
        from django.core import mail  # noqa: PLC0415
        from django.utils import timezone  # noqa: PLC0415

        from ontraport_connect import staff  # noqa: PLC0415

        self.events.filter(kind="linked").update(at=timezone.now() - timedelta(hours=1))
        self.seen["told of changes"] = staff.send_change_notices()
        mail.outbox.clear()
        ended = timezone.now() - timedelta(days=1)
        for name in ("ana", "tomas"):
            account = self.of(name)
            self.events.create(
                account=account, account_uid=account.uid, user=account.user, kind="needs_reconnect", at=ended
            )
            self.accounts.filter(pk=account.pk).update(status="needs_reconnect", linked_at=ended - timedelta(days=1))
        staff.send_due_notices()
        self.seen["told"] = [message.to for message in mail.outbox]

    def admin(self) -> None:
        from django.test import Client  # noqa: PLC0415
        from django.urls import reverse  # noqa: PLC0415

        support = Client()
        support.force_login(self.users.objects.create_superuser("support"))
        address = reverse("admin:ontraport_connect_ontraportaccount_changelist")
        uids = {str(row.pk): row.user.username for row in self.accounts.all()}

        def listed(**query: str) -> list[str]:
            response = support.get(address, query)
            return sorted(uids[str(row.pk)] for row in response.context["cl"].result_list)

        self.seen["list"] = listed()
        self.seen["search"] = [listed(q="tom"), listed(q="ana@example.com"), listed(q="nobody")]
        self.seen["inactive in the list"] = listed(state="inactive")
        views = ("ontraportaccount_glance", "ontraportevent_changelist")
        pages = [reverse(f"admin:ontraport_connect_{view}") for view in views]
        pages.append(reverse("admin:ontraport_connect_ontraportaccount_change", args=[self.of("maya").pk]))
        self.seen["pages"] = [support.get(page).status_code for page in pages]
        data = {"action": "export", "_selected_action": list(uids)}
        exported: Any = support.post(address, data)
        table = exported.getvalue().decode()
        self.seen["exported"] = [name for name in self.people if f",{name}," in table]
        data = {"action": "refresh_now", "_selected_action": [self.of("maya").pk]}
        before = self.of("maya").version
        support.post(address, data)
        self.seen["refreshed by support"] = self.of("maya").version - before

    def command(self) -> None:
        from io import StringIO  # noqa: PLC0415

        from django.core.management import call_command  # noqa: PLC0415

        out = StringIO()
        call_command("ontraport", "accounts", "--json", "--search", "tomas", stdout=out)
        self.seen["command"] = [entry["user"] for entry in json.loads(out.getvalue())]
        call_command("check", databases=["default", "customers"], stdout=out)
        call_command("makemigrations", "--check", "--dry-run", stdout=out)

    def disconnect(self) -> None:
        from django.urls import reverse  # noqa: PLC0415

        self.clients["maya"].post(reverse("ontraport_connect:disconnect", args=[self.of("maya").uid]))
        self.seen["left"] = sorted(row.user.username for row in self.accounts.all())

    def deletion(self) -> None:
        tenants = self.accounts.create(user=self.people["ana"], tenant="acme")
        self.people["ana"].delete()
        self.seen["after a deletion"] = sorted(row.tenant or row.user.username for row in self.accounts.all())
        tenants.refresh_from_db()
        self.seen["tenant's link"] = str(tenants.user)
        self.seen["history of who is gone"] = self.events.filter(user__isnull=True, kind="linked").count()
        self.seen["alive"] = sum(grant["alive"] for grant in self.sandbox.state()["grants"])

    def left_behind(self) -> None:
        """Somebody is deleted by other code, past this app."""
        from ontraport_connect.models import OntraportAccount  # noqa: PLC0415

        users = self.users.objects.filter(username="tomas")
        users._raw_delete("default")
        (account,) = self.accounts.filter(tenant="")
        self.seen["gone"] = [str(account.user), OntraportAccount.objects.filter(tenant="").usable().count()]


if __name__ == "__main__":
    django.setup()
    from django.test import override_settings
    from django.test.utils import setup_test_environment

    from tests.support import ontraport
    from tests.support.servers import Sandbox

    running = Sandbox.__new__(Sandbox)  # that of the test
    running.url = sys.argv[1]
    changes = {
        **ontraport.settings_for(running.url),
        "ONTRAPORT_NOTIFY": True,
        "ONTRAPORT_NOTIFY_CHANGES": True,
    }
    setup_test_environment()  # mails stay here, and pages tell what is in them
    with override_settings(**changes):
        print(json.dumps(Journey(running).run()))
