"""The real site that is compared with the model: its buttons, its database, and a clock that moves every stored time instead of waiting."""

from __future__ import annotations

import json
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from io import StringIO
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import requests
from django.apps import apps
from django.contrib.sessions.models import Session
from django.core.management import call_command
from django.db import transaction
from django.db.models import DateTimeField, F
from django.test import Client, override_settings
from django.urls import reverse

from ontraport_connect.database import has_one_writer
from ontraport_connect.models import (
    Now,
    OntraportAccount,
    OntraportAttempt,
    OntraportBudget,
    OntraportEvent,
    OntraportRevocation,
    OntraportService,
    OntraportSpentToken,
)
from ontraport_connect.refreshing import (
    circuit_breaker,
    client_settings,
    installation,
    leases,
    notes,
    outcomes,
    recovery,
    spending,
    spent_tokens,
)
from ontraport_connect.refreshing.spent_token_stores import sqlite_store
from tests.support.accounts import user_named
from tests.support.lifecycle_values import TIMEOUT, Ailment, Seen
from tests.support.strict_provider import StrictProvider

AILMENTS: dict[Ailment, dict[str, Any]] = {
    Ailment.NONE: {},
    Ailment.BROKEN: {"status": 500},
    Ailment.AWAY: {"status": 503, "headers": {"Retry-After": "90"}},
    Ailment.NONSENSE: {"status": 200, "members": {"access_token": 7}},
    Ailment.SILENT: {"hold": "before"},
    Ailment.LOSING: {"cut": True},
    Ailment.BUSY: {"status": 429, "headers": {"Retry-After": "120"}},
    Ailment.REFUSING: {"status": 401, "members": {"error": "invalid_client"}},
    Ailment.ENDING: {"status": 400, "members": {"error": "invalid_grant"}},
}
TABLES: tuple[Any, ...] = (
    *(OntraportEvent, OntraportRevocation, OntraportAttempt, OntraportBudget, OntraportService, OntraportAccount),
    OntraportSpentToken,
    Session,
)


@dataclass(kw_only=True, eq=False)
class InMemory:
    """An account that some process has read, and what the model knows about it."""

    account: Any
    seen: Seen


@dataclass(kw_only=True, eq=False)
class UnderWay:
    """A refresh of a process that may go on, or that was killed."""

    lease: Any
    outcome: Any = None


@dataclass(kw_only=True, eq=False)
class Started:
    """An attempt in a browser: the URL that it is sent to and, once the person has answered, the URL that it comes back with."""

    authorization_url: str
    callback: dict[str, str] = field(default_factory=dict)


class Undone(Exception):
    """Rolls a transaction back."""


class Site:
    def __init__(self, provider: StrictProvider, owners: list[str], key: str) -> None:
        for table in TABLES:
            table._base_manager.all()._raw_delete("default")
        for uid in spent_tokens.uids():
            spent_tokens.forget_account(uid)
        self.provider = provider
        self.settings = ExitStack()
        # One call after the other, so that the model knows in which order a batch gets its answers.
        self.configure(
            **provider.settings,
            ONTRAPORT_INSTALLATION="production",
            ONTRAPORT_ENCRYPTION_KEYS=[key],
            ONTRAPORT_REFRESH_CONCURRENCY=1,
            ONTRAPORT_TIMEOUT=TIMEOUT,
        )
        installation.adopt_database()
        self.browsers = {name: Client() for name in owners}
        for name, browser in self.browsers.items():
            browser.force_login(user_named(name))
        self.in_memory: list[InMemory] = []
        self.under_way: list[UnderWay] = []

    def configure(self, **values: Any) -> None:
        self.settings.enter_context(override_settings(**values))

    def ail(self, ailment: Ailment) -> None:
        """Only a server that never answers gets a short timeout. For any other a pause on a slow machine would count as a timeout."""
        self.provider.behave(**AILMENTS[ailment])
        self.configure(ONTRAPORT_TIMEOUT=(0.05, 0.1) if ailment == Ailment.SILENT else TIMEOUT)

    def press(self, owner: str, uid: Any) -> Started:
        address = reverse("ontraport_connect:reconnect", args=[uid]) if uid else reverse("ontraport_connect:connect")
        response = self.browsers[owner].post(address)
        assert response.status_code == 302
        return Started(authorization_url=response["Location"])

    def consent(self, started: Started, number: str) -> dict[str, str]:
        """Let the person answer at Ontraport, and return the parameters of the callback."""
        url = f"{started.authorization_url}&{urlencode({'number': number})}"
        response = requests.get(url, allow_redirects=False, timeout=10)
        return dict(parse_qsl(urlsplit(response.headers["Location"]).query))

    def come_back(self, owner: str, parameters: dict[str, str]) -> str:
        """Return the code of the problem page, or an empty string when the account is linked."""
        response = self.browsers[owner].get(reverse("ontraport_connect:callback"), parameters)
        assert response.status_code == 302
        return str(response["Location"]).partition("/problem/")[2].strip("/")

    def read(self, seen: Seen, uid: Any) -> InMemory:
        self.in_memory.append(InMemory(account=OntraportAccount.objects.get(uid=uid), seen=seen))
        return self.in_memory[-1]

    def claim(self, uid: Any) -> UnderWay | None:
        """Return ``None`` where a note says that nothing is to be sent."""
        rows = OntraportAccount.objects.all()
        (lease,) = leases.claim(rows, [rows.get(uid=uid).pk], is_probe=circuit_breaker.enter())
        if recovery.recover(lease):
            return None
        self.under_way.append(UnderWay(lease=lease))
        return self.under_way[-1]

    def spend_and_die(self, uid: Any, *, is_sent: bool) -> None:
        """A process that refreshes inside its transaction, and is killed before, or after, Ontraport has answered."""
        rows = OntraportAccount.objects.all()
        with suppress(Undone), transaction.atomic():
            (lease,) = leases.claim(rows, [rows.get(uid=uid).pk], is_probe=False)
            spent = notes.new_note(lease)
            assert spent_tokens.begin(spent)
            if is_sent:
                spending.call(lease.guarded_by(spent), client_settings.new_transport())
            raise Undone

    def send(self, refresh: UnderWay) -> None:
        with client_settings.new_transport() as transport:
            refresh.outcome = spending.call(refresh.lease, transport)

    def settle(self, refresh: UnderWay) -> None:
        outcomes.settle(refresh.lease, refresh.outcome)

    def is_leased(self, uid: Any) -> bool:
        return OntraportAccount.objects.filter(uid=uid, lease_until__gt=Now()).exists()

    def is_abandoned(self, uid: Any) -> bool:
        return OntraportAccount.objects.filter(uid=uid, lease_until__lte=Now()).exists()

    def is_backing_off(self, uid: Any) -> bool:
        return OntraportAccount.objects.filter(uid=uid, failures__gt=0, refresh_at__gt=Now()).exists()

    def is_own(self, refresh: UnderWay) -> bool:
        """Return whether nobody else has claimed the row since."""
        lease = refresh.lease
        return OntraportAccount.objects.filter(pk=lease.account.pk, lease_owner=lease.owner).exists()

    def restart(self) -> None:
        """End all processes. New ones start with what they read."""
        self.in_memory.clear()
        self.under_way.clear()

    def rotate_keys(self) -> None:
        call_command("ontraport", "rotate-keys", stdout=StringIO(), stderr=StringIO())

    def pass_time(self, seconds: float) -> None:
        """Move every time in the database and in the memory of processes into the past by ``seconds``."""
        for model in apps.get_app_config("ontraport_connect").get_models():
            if names := times_of(model):
                model._base_manager.update(**{name: F(name) - timedelta(seconds=seconds) for name in names})
        OntraportBudget.objects.all().delete()  # its times are text; nobody exchanges thirty codes between two such moments
        self.pass_time_in_texts(seconds)
        for held in self.in_memory:
            age(held.account, seconds)
        for refresh in self.under_way:
            age(refresh.lease.account, seconds)
            refresh.lease.account.now -= timedelta(seconds=seconds)
            refresh.lease = replace(refresh.lease, claimed_at=refresh.lease.claimed_at - seconds)
        self.provider.endpoint.clock += seconds

    def pass_time_in_texts(self, seconds: float) -> None:
        """Do the same for times that are no columns: the strikes of the circuit breaker, and the notes beside a SQLite database."""
        for row in OntraportService.objects.exclude(strikes=""):
            strikes = json.loads(row.strikes)
            for each in strikes.values():
                for name in {"first", "believed_until"} & each.keys():
                    each[name] = (datetime.fromisoformat(each[name]) - timedelta(seconds=seconds)).isoformat()
            OntraportService.objects.filter(pk=row.pk).update(strikes=json.dumps(strikes))
        if has_one_writer() and sqlite_store().exists():
            with sqlite_store()._connected() as connection:
                connection.execute("UPDATE spent SET sent_at = sent_at - ?, until = until - ?", (seconds, seconds))

    def close(self) -> None:
        self.settings.close()


def times_of(model: Any) -> list[str]:
    return [each.name for each in model._meta.concrete_fields if isinstance(each, DateTimeField)]


def age(account: Any, seconds: float) -> None:
    names = [name for name in times_of(OntraportAccount) if getattr(account, name) is not None]
    for name in names:
        setattr(account, name, getattr(account, name) - timedelta(seconds=seconds))
    account.remember(names)
