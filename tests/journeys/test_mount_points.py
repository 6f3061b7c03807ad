"""A site below a path of its host: ``/shop/`` is taken away by the server in front, and put in front by every address of ours."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
from django.conf import settings
from django.core import mail
from django.test import Client, override_settings
from django.urls import get_script_prefix

from ontraport_connect import tasks
from ontraport_connect.models import OntraportAccount
from tests.support import ontraport
from tests.support.linked import person
from tests.support.mail_server import mailer
from tests.support.notices import broken_account
from tests.support.servers import Sandbox

pytestmark = pytest.mark.django_db(transaction=True)

MOUNT = "/shop"


def address_of(site: str) -> str:
    """Return the URL under which people know the site."""
    return site.replace("http:", "https:") if settings.SECURE_SSL_REDIRECT else site


@pytest.fixture
def mounted(sandbox: Sandbox, live_server: Any) -> Iterator[str]:
    """Return the URL of the site, as the server behind the one in front sees it."""
    callback = f"{address_of(live_server.url)}{MOUNT}/ontraport/callback/"
    registered = requests.post(
        f"{sandbox.url}/oauth/register",
        json={"client_name": "Shop", "redirect_uris": [callback], "token_endpoint_auth_method": "client_secret_post"},
        timeout=10,
    ).json()
    with override_settings(
        **{
            **ontraport.settings_for(sandbox.url),
            "ONTRAPORT_CLIENT_ID": registered["client_id"],
            "ONTRAPORT_CLIENT_SECRET": registered["client_secret"],
            "ONTRAPORT_REDIRECT_URI": None,
        },
        FORCE_SCRIPT_NAME=MOUNT,
    ):
        yield live_server.url


class Browser:
    """Somebody who is signed in, behind the server that takes the mount point away."""

    def __init__(self, site: str, user: Any) -> None:
        client = Client()
        client.force_login(user)
        self.site = site
        self.session = requests.Session()
        self.session.trust_env = False
        self.session.headers["Origin"] = address_of(site)
        self.session.cookies.update({name: morsel.value for name, morsel in client.cookies.items()})

    def get(self, address: str) -> requests.Response:
        return self.session.get(self.behind(address), allow_redirects=False, timeout=30)

    def press(self, page: str, action: str) -> requests.Response:
        form = {"csrfmiddlewaretoken": ontraport.hidden_fields(page)["csrfmiddlewaretoken"]}
        return self.session.post(self.behind(action), data=form, allow_redirects=False, timeout=30)

    def behind(self, address: str) -> str:
        path = address.removeprefix(address_of(self.site))
        assert path.startswith(f"{MOUNT}/")
        for cookie in self.session.cookies:
            cookie.secure = False  # the server in front speaks TLS with the browser
        return f"{self.site}{path.removeprefix(MOUNT)}"


def test_a_link_is_made_and_every_address_has_the_mount_point(mounted: str) -> None:
    browser = Browser(mounted, person("maya"))
    page = browser.get(f"{MOUNT}/ontraport/connect/").text
    addresses = re.findall(r'(?:href|action)="(/[^"]*)"', page)
    assert addresses
    assert all(each.startswith((f"{MOUNT}/", "/static/")) for each in addresses), addresses
    started = browser.press(page, f"{MOUNT}/ontraport/connect/")
    asked = parse_qs(urlsplit(started.headers["Location"]).query)
    assert asked["redirect_uri"] == [f"{address_of(mounted)}{MOUNT}/ontraport/callback/"]
    done = browser.get(ontraport.consent(started.headers["Location"]))
    assert done.headers["Location"] == f"{MOUNT}/ontraport/"
    assert "Harbour Street Coffee is connected." in browser.get(done.headers["Location"]).text
    document = browser.get(f"{MOUNT}/ontraport/client.json").json()
    assert document["client_id"] == f"{address_of(mounted)}{MOUNT}/ontraport/client.json"
    denied = browser.get(f"{MOUNT}/ontraport/callback/?error=access_denied&state=x")
    assert denied.headers["Location"] == f"{MOUNT}/ontraport/problem/unknown/"
    assert OntraportAccount.objects.count() == 1


@pytest.mark.parametrize("path", [f"{MOUNT}/ontraport", "/en/ontraport", f"{MOUNT}/de/our/ontraport"])
def test_an_e_mail_of_a_worker_leads_to_where_the_callback_is(path: str) -> None:
    """A worker sees no request: where the site is mounted, and in which language, only the redirect URI tells it."""
    assert get_script_prefix() == "/"
    maya = person("maya")
    maya.email = "maya@example.com"
    maya.save()
    account = broken_account(maya)
    with override_settings(
        ONTRAPORT_NOTIFY=True, ONTRAPORT_REDIRECT_URI=f"https://shop.example.com{path}/callback/", **mailer("locmem")
    ):
        assert tasks.send_notices() == 1
    assert f"https://shop.example.com{path}/connect/?account={account.uid}\n" in mail.outbox[0].body
