"""Ontraport as a test has it: linked accounts, contacts, tokens that end, grants that are taken back, answers that fail."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

from django.test import Client, override_settings
from django.urls import reverse
from django.utils import timezone

from ontraport_connect.conf import conf
from ontraport_connect.models import EventKind, Method, OntraportAccount, OntraportEvent, as_stored
from ontraport_connect.protocol import Wire, plug_in
from ontraport_connect.sandbox import ACCOUNTS, Account, Fault
from ontraport_connect.using import counted_in_memory

from .contact_list import ContactList
from .in_process import API, APP, MCP, InProcess

CLIENT_ID = "test-client"
SETTINGS: dict[str, Any] = {
    "ONTRAPORT_CLIENT_ID": CLIENT_ID,
    "ONTRAPORT_CLIENT_SECRET": "test-secret",
    "ONTRAPORT_ENDPOINTS": {
        "issuer": APP,
        "authorization_endpoint": f"{APP}/oauth/authorize",
        "token_endpoint": f"{APP}/oauth/token",
        "revocation_endpoint": f"{APP}/oauth/revoke",
    },
    "ONTRAPORT_RESOURCE": MCP,
    "ONTRAPORT_MCP_URL": MCP,
    "ONTRAPORT_REST_URL": f"{API}/1/",
    "ONTRAPORT_CA_BUNDLE": None,
    "ONTRAPORT_PROXY": None,
    "ONTRAPORT_RATE_WAIT": 0.001,  # a test does not wait for the end of a 429
}


class FakeOntraport:
    """What ``fake_ontraport`` gives. ``username`` is ``owner`` (account 187157) or ``agency`` (204211) throughout."""

    def __init__(self) -> None:
        self._world = InProcess(time.time)

    @property
    def wire(self) -> Wire:
        """What answers in place of the network."""
        return self._world

    def linked_account(self, user: Any, *, username: str = "owner", **fields: Any) -> OntraportAccount:
        """Return an account that ``user`` has linked, saved, with its event. ``fields`` are those of the model: ``tenant``, ``label``,
        ``method``. The first account of an owner is the default. It counts as used just now, unless ``last_used_at=None`` is given: to note
        the first use takes a connection of its own inside a test's transaction.
        """
        person = ACCOUNTS[username]
        if fields.get("method") == Method.API_KEY:
            secrets: dict[str, Any] = {"app_id": person.app_id, "access_token": person.api_key}
        else:
            secrets = self._tokens(person)
        others = OntraportAccount.objects.for_owner(user, fields.get("tenant") or None)
        is_default = not others.filter(is_default=True).exists()
        account: OntraportAccount = OntraportAccount.objects.create(
            **{
                "user": user,
                "ontraport_id": str(person.account_id),
                "is_default": is_default,
                "last_used_at": timezone.now(),
                **secrets,
                **fields,
            }
        )
        OntraportEvent.record(account, EventKind.LINKED)
        return account

    def _tokens(self, person: Account) -> dict[str, Any]:
        grant = self._world.grants.new(person, CLIENT_ID, " ".join(conf.ONTRAPORT_SCOPES))
        expires_at = as_stored(datetime.fromtimestamp(grant.expires_at, UTC))
        return {
            "access_token": grant.access_token,
            "refresh_token": grant.refresh_token,
            "scope": grant.scope,
            "client_id": CLIENT_ID,
            "issuer": APP,
            "expires_at": expires_at,
            "refresh_at": expires_at - timedelta(seconds=conf.ONTRAPORT_REFRESH_MARGIN),
        }

    def link(self, client: Client, *, username: str = "owner", allow: bool = True, **data: str) -> Any:
        """Press the button as the person who is signed in with ``client``, answer at Ontraport, and return the callback's response."""
        callback = conf.ONTRAPORT_REDIRECT_URI or f"https://testserver{reverse('ontraport_connect:callback')}"
        with override_settings(ONTRAPORT_REDIRECT_URI=callback):
            url = client.post(reverse("ontraport_connect:connect"), data)["Location"]
            back = urlsplit(self._world.grants.consent(url, ACCOUNTS[username], issuer=APP, allow=allow))
            return client.get(f"{back.path}?{back.query}")

    @property
    def contacts(self) -> ContactList:
        """The contacts of ``owner``."""
        return self.contacts_of("owner")

    def contacts_of(self, username: str) -> ContactList:
        return ContactList(self._world.stand_in.records_of(ACCOUNTS[username]))

    @property
    def requests(self) -> Sequence[dict[str, Any]]:
        """What the app has sent, the newest first: ``method``, ``path``, ``sent``, ``status``, ``answer``; secrets are masked."""
        return self._world.stand_in.log.entries()

    def expire(self) -> None:
        """Let all access tokens end, here and at Ontraport. The next call refreshes."""
        self._world.grants.expire()
        OntraportAccount.objects.filter(issuer=APP).update(expires_at=timezone.now() - timedelta(seconds=1))

    def revoke(self, username: str | None = None) -> None:
        """End the grants of a person, or all, as a customer does inside Ontraport. The next call needs a reconnect."""
        grants = self._world.grants
        grants.revoke(each for each in grants.all if username in {None, each.account.username})

    def fail(self, how: int | str, *, times: int = 0, at: str = "all", retry_after: str = "") -> None:
        """Let requests fail: with a status such as 429 or 503, or with ``connection``, ``timeout``, ``lost``, ``nonsense``,
        ``invalid_client``.

        After ``timeout`` and ``lost`` the request was carried out, and its answer did not arrive. ``times`` is the number of requests
        (0: until ``recover``), ``at`` is ``token``, ``revoke``, ``mcp``, ``rest`` or ``all``.
        """
        self._world.stand_in.switches.set_fault(at, Fault(kind=str(how), remaining=times, retry_after=retry_after))

    def recover(self) -> None:
        """End all failures."""
        self._world.stand_in.switches.set_fault("all", Fault(kind="none"))

    def switch(self, **switches: Any) -> None:
        """Set switches of the stand-in's control page, such as ``mcp_results="text"``. Raises ``TypeError`` for one that there is not."""
        self._world.stand_in.switches.change(switches)


@contextmanager
def fake_ontraport() -> Iterator[FakeOntraport]:
    """Put the stand-in's logic in Ontraport's place, in this process: nothing that the app sends leaves it, in any thread."""
    fake = FakeOntraport()
    with override_settings(**SETTINGS), plug_in(fake.wire), counted_in_memory():
        yield fake
