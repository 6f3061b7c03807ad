"""The whole way of a customer in each setting of each switch of the stand-in for Ontraport.

The switches are the stand-in's own list, so that a new one cannot be forgotten. A customer links, reads, writes, lives through a restart
of the server, is refreshed, and disconnects. Where a setting ends the way earlier, ``ENDINGS`` says how.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client, override_settings
from django.urls import reverse
from django.utils import timezone

from ontraport_connect import refreshing
from ontraport_connect.exceptions import OntraportRejected, ReconnectRequired
from ontraport_connect.models import OntraportAccount, Status
from ontraport_connect.sandbox import CHOICES, LESSONS
from ontraport_connect.sandbox.switches import Settings
from tests.support import ontraport, sandbox_client
from tests.support.linked import key_account, linked_account, person
from tests.support.servers import Sandbox, wait_until

pytestmark = pytest.mark.django_db(transaction=True)

DEFAULTS = asdict(Settings())
NUMBERS_AND_WORDS: Mapping[str, Sequence[Any]] = {
    "access_token_lifetime": [1],
    "refresh_token_lifetime": [1],
    "refresh_token_grace": [60],
    "issuer": ["https://elsewhere.example"],
    "rate_limit": [12],
    "rate_window": [1],
    "contacts": [120],
    "mcp_session_idle": [2],
    "mcp_stream": [5],
}
"""Another setting of each switch that is a number or free text."""

BESIDE: Mapping[str, Mapping[str, Any]] = {
    "send_expires_in": {"access_token_lifetime": 1},
    "rate_limit": {"rate_window": 1},
    "mcp_unknown_session": {"mcp_sessions": "required"},
    "mcp_session_idle": {"mcp_sessions": "required"},
}
"""What else must be set for a switch to matter."""


def settings_of(switch: str) -> list[Any]:
    """Return all settings of a switch, that of the start among them. Fails for one that is not a choice and has no other setting above."""
    if isinstance(DEFAULTS[switch], bool):
        return [True, False]
    if switch in CHOICES:
        return [type(DEFAULTS[switch])(value) for value in CHOICES[switch]]
    return [DEFAULTS[switch], *NUMBERS_AND_WORDS[switch]]


ALL = [(switch, value) for switch in DEFAULTS for value in settings_of(switch)]


class Customer:
    """Somebody who links an account with OAuth and another with a key pair, and what the way needs of the stand-in."""

    def __init__(self, sandbox: Sandbox, switches: Mapping[str, Any], *, name: str = "zoe") -> None:
        self.sandbox = sandbox
        self.switches = switches
        self.user = person(name)
        self.client = Client()
        self.client.force_login(self.user)
        sandbox.set(**switches)

    def connect(self) -> None:
        self.linked = linked_account(self.user, self.sandbox)
        self.pair = key_account(self.user)
        assert self.linked.ontraport_id == "187157"

    def use(self) -> None:
        """Read and write with both kinds of links, over MCP and REST, on the same records."""
        total = max(21, self.switches.get("contacts", 0))
        for account in (self.linked, self.pair):
            assert account.mcp("count_objects", objectID="0") == {"count": total}
            made = account.mcp("create_object", fields={"firstname": "Nia"})["data"]
            assert self.pair.rest("GET", "Contact", params={"id": made["id"]})["data"] == made
            assert "data" not in self.pair.rest("DELETE", "Contact", params={"id": made["id"]})
            with pytest.raises(OntraportRejected):
                account.mcp("update_object", id=999, fields={"city": "x"})

    def see_the_server_restart(self) -> None:
        """Its sessions, counts and records are as at the start; grants stay."""
        self.sandbox.reset()
        self.sandbox.set(**self.switches)

    def refresh(self) -> None:
        refreshing.refresh(self.linked)

    def disconnect(self) -> None:
        for account in (self.linked, self.pair):
            self.client.post(reverse("ontraport_connect:disconnect", args=[account.uid]))
        assert not OntraportAccount.objects.filter(user=self.user).exists()
        assert not is_alive(self.sandbox)


def is_alive(sandbox: Sandbox) -> bool:
    return any(grant["alive"] for grant in sandbox.state()["grants"])


def let_pass(seconds: float) -> None:
    """Wait for the end of something that the stand-in, a process of its own, measures by its own clock."""
    over = time.monotonic() + seconds
    wait_until(lambda: time.monotonic() > over, "the time to pass", seconds + 20)


def refuse_another_issuer(customer: Customer) -> None:
    """RFC 9207: the code of an answer whose issuer is another one is sent nowhere."""
    response = ontraport.link(customer.client, customer.sandbox)
    assert response["Location"].startswith(reverse("ontraport_connect:problem", args=["issuer"]))
    assert customer.sandbox.state()["counts"]["token:authorization_code"] == 0
    assert not OntraportAccount.objects.exists()


def reconnect_after_the_end_of_the_refresh_token(customer: Customer) -> None:
    customer.connect()
    customer.use()
    let_pass(1.1)
    with pytest.raises(ReconnectRequired):
        customer.refresh()
    assert OntraportAccount.objects.get(pk=customer.linked.pk).status == Status.NEEDS_RECONNECT
    assert customer.pair.mcp("get_account_info")["account_id"] == 187157


ENDINGS: Mapping[tuple[str, Any], Callable[[Customer], None]] = {
    ("issuer", "https://elsewhere.example"): refuse_another_issuer,
    ("refresh_token_lifetime", 1): reconnect_after_the_end_of_the_refresh_token,
}
"""Settings in which the whole way cannot be gone, and what the app does instead."""


def learn_the_end_of_the_token_from_a_401(customer: Customer, value: bool) -> None:
    """Without ``expires_in`` the app takes a token to live an hour, and this one lives a second."""
    let_pass(1.1)
    before = customer.sandbox.state()["counts"]["token:refresh_token"]
    assert customer.linked.mcp("get_account_info")["account_id"] == 187157
    assert customer.sandbox.state()["counts"]["token:refresh_token"] == before + 1
    expires_at = customer.linked.expires_at
    assert expires_at is not None
    assert (expires_at - timezone.now() < timedelta(minutes=1)) is value


def spend_a_token_twice(customer: Customer, value: float) -> None:
    """A copy of the site's database spends a token that the site has spent: that ends the grant, unless there is a time of grace."""
    spent = customer.linked.refresh_token.reveal()
    customer.refresh()
    sandbox_client.refresh(customer.sandbox.url, spent)
    if value:
        customer.refresh()
        return
    with pytest.raises(ReconnectRequired):
        customer.linked.mcp("get_account_info")
    assert OntraportAccount.objects.get(pk=customer.linked.pk).status == Status.NEEDS_RECONNECT


def let_somebody_else_go(customer: Customer, value: bool) -> None:
    """Another user of the site has linked the same Ontraport account, and takes the access back inside Ontraport."""
    other = Customer(customer.sandbox, customer.switches, name="nia")
    account = linked_account(other.user, other.sandbox)
    customer.sandbox.revoke(customer.sandbox.state()["grants"][0]["id"])
    other.client.post(reverse("ontraport_connect:disconnect", args=[account.uid]))
    if value:
        with pytest.raises(ReconnectRequired):
            customer.linked.mcp("get_account_info")
    else:
        assert customer.linked.mcp("get_account_info")["account_id"] == 187157


def wait_for_a_turn(customer: Customer, value: int) -> None:
    assert (customer.sandbox.state()["counts"]["rate_limited"] > 0) is (value < 180)


def read_every_page(customer: Customer, value: int) -> None:
    assert len(list(customer.pair.rest_pages("Contacts"))) == max(21, value)


def use_a_session_that_has_idled_too_long(customer: Customer, value: float) -> None:
    if value < 60:
        let_pass(value + 0.1)
    customer.use()


ON_THE_WAY: Mapping[str, Callable[[Customer, Any], None]] = {
    "send_expires_in": learn_the_end_of_the_token_from_a_401,
    "refresh_token_grace": spend_a_token_twice,
    "one_grant_per_client": let_somebody_else_go,
    "rate_limit": wait_for_a_turn,
    "contacts": read_every_page,
    "mcp_session_idle": use_a_session_that_has_idled_too_long,
}
"""What shows that a switch is felt, before the customer disconnects."""


def test_every_switch_is_gone_through_in_at_least_two_settings() -> None:
    assert {switch for switch, _ in ALL} == {*LESSONS} == {*DEFAULTS}
    assert all(len(settings_of(switch)) > 1 for switch in DEFAULTS)


@pytest.mark.parametrize(("switch", "value"), ALL)
def test_a_customer_goes_the_whole_way(sandbox: Sandbox, switch: str, value: Any) -> None:
    with override_settings(**ontraport.settings_for(sandbox.url)):
        customer = Customer(sandbox, {**BESIDE.get(switch, {}), switch: value})
        if (switch, value) in ENDINGS:
            ENDINGS[switch, value](customer)
            return
        customer.connect()
        customer.use()
        customer.see_the_server_restart()
        customer.use()
        customer.refresh()
        customer.use()
        if switch in ON_THE_WAY:
            ON_THE_WAY[switch](customer, value)
        customer.disconnect()
