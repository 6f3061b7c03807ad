"""How often a person, or an address, may make this site exchange a code: each exchange is a request to Ontraport."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
from django.http import HttpRequest
from django.test import Client, override_settings
from django.urls import reverse

from ontraport_connect import refreshing
from ontraport_connect.exceptions import LinkingFailed
from ontraport_connect.linking import Owner, limits
from ontraport_connect.models import OntraportAccount
from tests.support import ontraport
from tests.support.answering import Answering, Reply, as_json
from tests.support.linked import person
from tests.support.servers import Sandbox

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def refusing() -> Iterator[Answering]:
    """An Ontraport that knows no code."""
    with (
        Answering(lambda asked: as_json({"error": "invalid_grant"}, 400)) as server,
        override_settings(**ontraport.settings_for(server.url)),
    ):
        yield server


def come_back_with_junk(client: Client, issuer: str, **extra: Any) -> str:
    """Press the button, come back with a code that Ontraport never gave, and return the code of the problem page."""
    state = ontraport.press_connect(client).split("state=")[1].split("&")[0]
    parameters = {"state": state, "code": "junk", "iss": issuer, **extra}
    response = client.get(reverse("ontraport_connect:callback"), parameters)
    return str(response["Location"]).partition("/problem/")[2].strip("/")


def test_a_person_exchanges_so_many_codes_in_ten_minutes(client: Client, refusing: Answering) -> None:
    client.force_login(person("mallory"))
    problems = [come_back_with_junk(client, refusing.url) for _ in range(limits.MAX_EXCHANGES + 2)]
    assert problems == ["code"] * limits.MAX_EXCHANGES + ["too_many"] * 2
    assert len(refusing.asked) == limits.MAX_EXCHANGES
    page = client.get(reverse("ontraport_connect:problem", args=["too_many"])).content.decode()
    assert "Wait ten minutes and try again." in page
    client.force_login(person("maya"))
    assert come_back_with_junk(client, refusing.url) == "code"


def test_what_sends_no_request_is_not_counted(client: Client, refusing: Answering) -> None:
    client.force_login(person("maya"))
    for _ in range(limits.MAX_EXCHANGES):
        assert come_back_with_junk(client, refusing.url, error="access_denied") == "denied"
    assert come_back_with_junk(client, "https://attacker.example") == "issuer"
    assert refusing.asked == []
    assert come_back_with_junk(client, refusing.url) == "code"


def test_an_address_exchanges_so_many_codes_for_any_number_of_people() -> None:
    owners = [Owner(user=SimpleNamespace(pk=number), tenant=None) for number in range(10)]
    for number in range(limits.MAX_EXCHANGES_OF_ADDRESS):
        limits.count_exchange(owners[number % 10], "192.0.2.1")
    newcomer = Owner(user=SimpleNamespace(pk="x" * 200), tenant=None)
    with pytest.raises(LinkingFailed) as raised:
        limits.count_exchange(newcomer, "192.0.2.1")
    assert raised.value.code == "too_many"
    limits.count_exchange(newcomer, "192.0.2.2")
    limits.count_exchange(newcomer, "")


@pytest.mark.parametrize(
    ("first", "second", "is_one"),
    [
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff:ffff:ffff:ffff", True),
        ("2001:db8:1:2::1", "2001:DB8:1:2::1%eth0", True),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", False),
        ("192.0.2.1", "::ffff:192.0.2.1", True),
        ("::ffff:192.0.2.1", "::ffff:192.0.2.2", False),
        ("::1", "::2", True),
        ("unix:", "unix:", True),
        ("unix:", "192.0.2.1", False),
    ],
)
def test_addresses_that_one_subscriber_can_choose_from_count_as_one(first: str, second: str, is_one: bool) -> None:
    """A subscriber to IPv6 has 2**64 addresses."""
    for number in range(limits.MAX_EXCHANGES_OF_ADDRESS):
        limits.count_exchange(Owner(user=SimpleNamespace(pk=number), tenant=None), first)
    newcomer = Owner(user=SimpleNamespace(pk="newcomer"), tenant=None)
    with pytest.raises(LinkingFailed) if is_one else nullcontext():
        limits.count_exchange(newcomer, second)


def test_the_address_is_that_of_the_connection(client: Client, refusing: Answering) -> None:
    """Not what a header claims."""
    for number in range(limits.MAX_EXCHANGES_OF_ADDRESS):
        limits.count_exchange(Owner(user=SimpleNamespace(pk=number), tenant=None), "192.0.2.1")
    client.force_login(person("maya"))
    client.defaults["HTTP_X_FORWARDED_FOR"] = "192.0.2.9"
    client.defaults["REMOTE_ADDR"] = "192.0.2.1"
    assert come_back_with_junk(client, refusing.url) == "too_many"
    assert refusing.asked == []


@pytest.mark.parametrize("tenant", ["", "north"])
def test_an_owner_has_a_bounded_number_of_accounts(client: Client, refusing: Answering, tenant: str) -> None:
    maya = person("maya")
    maya.is_superuser = True  # in a tenant, not everybody may link
    maya.save()
    client.force_login(maya)
    with override_settings(ONTRAPORT_TENANT="tests.linking.test_limits.north" if tenant else None):
        last = OntraportAccount.objects.create(user=maya, tenant=tenant)
        for _ in range(limits.MAX_ACCOUNTS - 2):
            OntraportAccount.objects.create(user=maya, tenant=tenant)
        OntraportAccount.objects.create(user=maya, tenant="south")
        assert ontraport.press_connect(client).startswith(refusing.url)
        OntraportAccount.objects.create(user=maya, tenant=tenant)
        response = client.post(reverse("ontraport_connect:connect"), follow=True)
        assert "ve connected 50 accounts, which is the limit." in response.content.decode()
        assert reverse("ontraport_connect:accounts") in response.content.decode()
        form = client.post(reverse("ontraport_connect:connect_key"), {"app_id": "2_1_app", "api_key": "a-key"})
        assert "ve connected 50 accounts, which is the limit." in form.content.decode()
        assert refusing.asked == []
        again = client.post(reverse("ontraport_connect:reconnect", args=[last.uid]))
        assert again["Location"].startswith(refusing.url)


def test_attempts_that_were_open_before_do_not_go_beyond_it(
    client: Client, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nobody can tell whose grants these are, as without the extra ``mcp``, each would be a row of its own."""
    monkeypatch.setattr(limits, "MAX_ACCOUNTS", 2)
    sandbox.set(fault="500", fault_target="mcp", fault_count=9)
    client.force_login(person("maya"))
    with override_settings(**ontraport.settings_for(sandbox.url)):
        callbacks = [ontraport.consent(ontraport.press_connect(client)) for _ in range(3)]
        places = [ontraport.come_back(client, callback)["Location"] for callback in callbacks]
        page = client.get(places[-1]).content.decode()
    assert places == ["/ontraport/", "/ontraport/", "/ontraport/problem/too_many_accounts/"]
    assert "You&#x27;ve connected 2 accounts, which is the limit." in page
    assert OntraportAccount.objects.count() == 2
    assert sandbox.state()["counts"]["token:authorization_code"] == 2


def north(request: HttpRequest) -> str:
    return "north"


def test_a_code_exchange_that_is_told_to_slow_down_stops_no_refresh(client: Client) -> None:
    client.force_login(person("maya"))
    with (
        Answering(lambda asked: Reply(status=429, headers={"Retry-After": "3600"})) as server,
        override_settings(**ontraport.settings_for(server.url)),
    ):
        assert come_back_with_junk(client, server.url) == "unavailable"
        assert refreshing.may_refresh()
        assert refreshing.site_standing().hold_code == ""
