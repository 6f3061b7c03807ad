"""The flows of the app that write to the database: how to prepare, run and repeat each, and how to see that it was done."""

from __future__ import annotations

import itertools
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, urljoin, urlsplit

import requests
from django.contrib.auth import get_user_model
from django.db import Error as DatabaseFailure
from django.db import transaction
from django.test import Client, override_settings
from django.urls import reverse
from django.utils import timezone

from ontraport_connect import tasks
from ontraport_connect.conf import conf
from ontraport_connect.exceptions import OntraportError
from ontraport_connect.models import (
    Method,
    OntraportAccount,
    OntraportEvent,
    OntraportRevocation,
    Status,
)
from ontraport_connect.refreshing import batches, one_account, revoking
from ontraport_connect.staff import key_rotation
from tests.support.accounts import linked, read
from tests.support.answering import Asked, Reply, as_json, envelope
from tests.support.strict_server import TokenEndpoint

Raises = tuple[type[Exception], ...]
KEYS = ["a-key-of-the-tests-that-is-long-enough-1", "a-key-of-the-tests-that-is-long-enough-2"]


class Ontraport:
    """A server that issues a grant for each code, rotates strictly, revokes, and accepts only the current access token of a grant."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.forget()

    def forget(self) -> None:
        self.endpoint = TokenEndpoint()
        self.refused: set[str] = set()

    def reply(self, asked: Asked) -> Reply:
        form = {name: values[0] for name, values in parse_qs(asked.body.decode()).items()}
        with self.lock:
            match asked.path:
                case "/token" if "code" in form:
                    self.endpoint.grant(form["code"])
                    return as_json(tokens(form["code"]))
                case "/token":
                    status, members = self.endpoint.refresh(form["refresh_token"])
                    return as_json(members, status)
                case "/revoke":
                    self.endpoint.revoke(form["token"])
                    return Reply()
                case "/mcp/":
                    return Reply(status=503)
            is_known = "Api-Key" in asked.headers or self.is_current(asked.headers["Authorization"].split()[-1])
            return envelope({}) if is_known else as_json({}, 401)

    def is_current(self, access_token: str) -> bool:
        _, name, serial = access_token.split(".")
        grant = self.endpoint.grant(name)
        return grant.alive and str(grant.serial) == serial and access_token not in self.refused

    def settings(self, url: str) -> dict[str, Any]:
        return {
            "ONTRAPORT_CLIENT_ID": "id",
            "ONTRAPORT_CLIENT_SECRET": "secret",
            "ONTRAPORT_ENDPOINTS": {
                "authorization_endpoint": f"{url}/authorize",
                "token_endpoint": f"{url}/token",
                "revocation_endpoint": f"{url}/revoke",
            },
            "ONTRAPORT_REST_URL": f"{url}/1/",
            "ONTRAPORT_MCP_URL": f"{url}/mcp/",
            "ONTRAPORT_REDIRECT_URI": "http://127.0.0.1:8000/ontraport/callback/",
        }


def tokens(name: str) -> dict[str, Any]:
    return {
        "access_token": f"a.{name}.0",
        "refresh_token": f"r.{name}.0",
        "token_type": "Bearer",
        "expires_in": 3600,
    }


class Flow(ABC):
    """One flow.

    It may raise ``OntraportError``. Pages and tasks may also raise the database's own errors: a page is rolled back and shows an error
    page, a task runs again.
    """

    raises: Raises = (OntraportError, DatabaseFailure)

    def __init__(self, ontraport: Ontraport) -> None:
        self.ontraport = ontraport
        self.grants = itertools.count()

    def link(self, **values: Any) -> Any:
        """Create an account whose grant the server knows."""
        name = f"g{next(self.grants)}"
        self.ontraport.endpoint.grant(name)
        return linked(name, **values)

    @abstractmethod
    def prepare(self) -> None: ...

    @abstractmethod
    def run(self) -> None: ...

    def again(self) -> None:
        self.run()

    def assert_done(self) -> None:  # noqa: B027  # most flows have nothing more
        """Check what this flow must have done, besides what holds for all flows."""


class Refresh(Flow):
    raises: Raises = (OntraportError,)

    def prepare(self) -> None:
        self.account = self.link()

    def run(self) -> None:
        one_account.refresh(self.account)

    def again(self) -> None:
        one_account.refresh(read(self.account))

    def assert_done(self) -> None:
        assert read(self.account).version > 0


class RefreshInTransaction(Refresh):
    raises = (OntraportError, DatabaseFailure)

    def run(self) -> None:
        with transaction.atomic():
            OntraportEvent.objects.create(kind="linked")
            one_account.refresh(self.account)


class RefreshInBatch(Flow):
    def prepare(self) -> None:
        self.accounts = [self.link(failures=number) for number in range(3)]

    def run(self) -> None:
        batches.refresh_batch([account.pk for account in self.accounts])

    def again(self) -> None:
        OntraportAccount.objects.update(refresh_at=timezone.now() - timedelta(seconds=1))
        self.run()

    def assert_done(self) -> None:
        assert all(read(account).version > 0 for account in self.accounts)


class Unauthorized(Flow):
    """The API refuses a token that is not due yet: the token is refreshed and the request sent again."""

    raises = (OntraportError,)

    def prepare(self) -> None:
        self.account = self.link(expires_in=3600)
        self.ontraport.refused.add(self.account.access_token.reveal())
        self.account = read(self.account)

    def run(self) -> None:
        url = urljoin(conf.ONTRAPORT_REST_URL, "objects")
        self.status = requests.get(url, auth=self.account.auth(), timeout=10).status_code

    def assert_done(self) -> None:
        assert self.status == 200


class Page(Flow):
    def __init__(self, ontraport: Ontraport) -> None:
        super().__init__(ontraport)
        self.user = get_user_model().objects.create_user("maya", password="demo")
        self.browser = Client()
        self.browser.force_login(self.user)


class Link(Page):
    def press(self) -> str:
        return str(self.browser.post(reverse("ontraport_connect:connect"))["Location"])

    def prepare(self) -> None:
        self.url = self.press()

    def run(self) -> None:
        state = parse_qs(urlsplit(self.url).query)["state"][0]
        code = f"g{next(self.grants)}"
        self.response = self.browser.get(reverse("ontraport_connect:callback"), {"code": code, "state": state})

    def again(self) -> None:
        """Press the button again and follow it."""
        self.url = self.press()
        self.run()

    def assert_done(self) -> None:
        assert self.response["Location"] == reverse("ontraport_connect:accounts")
        assert OntraportAccount.objects.filter(user=self.user, status=Status.CONNECTED).exists()


class Reconnect(Link):
    def press(self) -> str:
        return str(self.browser.post(reverse("ontraport_connect:reconnect", args=[self.account.uid]))["Location"])

    def prepare(self) -> None:
        self.account = self.link(user=self.user)
        super().prepare()

    def assert_done(self) -> None:
        super().assert_done()
        assert OntraportAccount.objects.get().pk == self.account.pk


class Disconnect(Page):
    def prepare(self) -> None:
        self.account = self.link(user=self.user)

    def run(self) -> None:
        self.browser.post(reverse("ontraport_connect:disconnect", args=[self.account.uid]))

    def assert_done(self) -> None:
        assert not OntraportAccount.objects.exists()


class LinkKey(Page):
    def prepare(self) -> None:
        """There is nothing to prepare: the flow starts without a link."""

    def run(self) -> None:
        form = {"app_id": "2_1_app", "api_key": "a-key"}
        self.response = self.browser.post(reverse("ontraport_connect:connect_key"), form)

    def assert_done(self) -> None:
        assert self.response.status_code == 302
        account = OntraportAccount.objects.get(method=Method.API_KEY)
        assert (account.app_id.reveal(), account.access_token.reveal()) == ("2_1_app", "a-key")


class Deliver(Flow):
    def prepare(self) -> None:
        for _ in range(2):
            account = self.link()
            revoking.queue_revocation(account, account.refresh_token)
            OntraportAccount.objects.filter(pk=account.pk)._raw_delete(using="default")
        self.make_due()

    def make_due(self) -> None:
        OntraportRevocation.objects.update(try_at=timezone.now() - timedelta(seconds=1))

    def run(self) -> None:
        tasks.deliver_revocations()

    def again(self) -> None:
        self.make_due()
        self.run()

    def assert_done(self) -> None:
        assert not OntraportRevocation.objects.exists()


class RotateKeys(Flow):
    def prepare(self) -> None:
        with override_settings(ONTRAPORT_ENCRYPTION_KEYS=KEYS[1:]):
            for _ in range(2):
                account = self.link()
                revoking.queue_revocation(account, account.refresh_token)

    def run(self) -> None:
        with override_settings(ONTRAPORT_ENCRYPTION_KEYS=KEYS):
            key_rotation.rotate_keys(lambda seen: None)

    def assert_done(self) -> None:
        with override_settings(ONTRAPORT_ENCRYPTION_KEYS=KEYS[:1]):
            assert not [
                row
                for model in key_rotation.MODELS
                for page in key_rotation.pages(model)
                for row in page
                if row.unreadable()
            ]


class Beat(Flow):
    def prepare(self) -> None:
        self.accounts = [self.link() for _ in range(3)]

    def run(self) -> None:
        self.found = tasks.refresh_expiring_tokens()

    def assert_done(self) -> None:
        assert self.found == 3


FLOWS: dict[str, Callable[[Ontraport], Flow]] = {
    "link": Link,
    "reconnect": Reconnect,
    "refresh": Refresh,
    "refresh in a batch": RefreshInBatch,
    "refresh in a transaction": RefreshInTransaction,
    "401": Unauthorized,
    "disconnect": Disconnect,
    "deliver revocations": Deliver,
    "rotate keys": RotateKeys,
    "link a key pair": LinkKey,
    "beat": Beat,
}
