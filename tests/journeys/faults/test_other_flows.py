"""Every network fault in every other flow that talks to Ontraport."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.test import Client, override_settings
from django.urls import reverse

from ontraport_connect.exceptions import OntraportUnavailable
from ontraport_connect.management.subcommands import register
from ontraport_connect.models import OntraportAccount, OntraportBudget, OntraportRevocation, Status
from ontraport_connect.refreshing import one_account, revoking
from ontraport_connect.staff import diagnosis
from tests.refreshing.test_revoking import make_due
from tests.support import ontraport
from tests.support.accounts import read
from tests.support.fault_proxy import Fault, FaultProxy
from tests.support.faults import (
    BODY,
    MOST,
    ONE_OF_EACH_KIND,
    PATIENT,
    SOME,
    alive,
    error_of,
    meeting,
    relink,
    secrets_of,
)
from tests.support.linked import KEYS, key_account, linked_account
from tests.support.servers import Sandbox

pytestmark = pytest.mark.django_db(transaction=True)


def problem_page(browser: Client, response: Any) -> str:
    """Follow the redirect to the page that explains the problem, check that it has a way on, and return its code."""
    assert response.status_code == 302
    assert "/problem/" in response["Location"]
    page = browser.get(response["Location"])
    assert page.status_code == 200
    assert reverse("ontraport_connect:connect").encode() in page.content
    return str(response["Location"]).split("/problem/")[-1].strip("/")


def test_the_exchange(proxy: FaultProxy, sandbox: Sandbox, browser: Client, subtests: pytest.Subtests) -> None:
    for name, fault in MOST.items():
        with subtests.test(name):
            OntraportBudget.objects.all().delete()  # one person exchanges fewer codes than this in ten minutes
            answer = ontraport.consent(ontraport.press_connect(browser))
            with meeting(proxy, fault):
                response = ontraport.come_back(browser, answer)
            assert problem_page(browser, response) == "unavailable"
            assert proxy.requests() <= 1
            assert not OntraportAccount.objects.exists()
            assert ontraport.link(browser, sandbox).status_code == 302
            account = OntraportAccount.objects.get()
            one_account.refresh(account)
            account.delete()


@contextmanager
def only_identity_meeting(proxy: FaultProxy, sandbox: Sandbox, fault: Fault) -> Iterator[None]:
    """Give the request for the account's name this fault. The exchange goes past the proxy: the two would share one connection."""
    endpoints = ontraport.settings_for(sandbox.url)["ONTRAPORT_ENDPOINTS"]
    with override_settings(ONTRAPORT_ENDPOINTS=endpoints), meeting(proxy, fault, timeout=PATIENT):
        yield
    assert proxy.passages


def test_the_identity_of_a_new_link(
    proxy: FaultProxy, sandbox: Sandbox, browser: Client, subtests: pytest.Subtests
) -> None:
    """A link is made even when the name of its account could not be read."""
    for name, fault in ONE_OF_EACH_KIND.items():
        with subtests.test(name):
            answer = ontraport.consent(ontraport.press_connect(browser))
            with only_identity_meeting(proxy, sandbox, fault):
                response = ontraport.come_back(browser, answer)
            assert response["Location"] == reverse("ontraport_connect:accounts")
            account = OntraportAccount.objects.get()
            assert account.ontraport_id == ""
            one_account.refresh(account)
            account.delete()


def test_the_identity_of_a_reconnect(
    proxy: FaultProxy, sandbox: Sandbox, browser: Client, maya: Any, subtests: pytest.Subtests
) -> None:
    """Nobody knows whether it is the same account, so the old link stays as it was and the new grant is revoked."""
    account = linked_account(maya, sandbox)
    for name, fault in ONE_OF_EACH_KIND.items():
        with subtests.test(name):
            held = secrets_of(account)
            button = browser.post(reverse("ontraport_connect:reconnect", args=[account.uid]))
            answer = ontraport.consent(button["Location"])
            with only_identity_meeting(proxy, sandbox, fault):
                response = ontraport.come_back(browser, answer)
            assert problem_page(browser, response) == "unidentified"
            assert secrets_of(account) == held
            one_account.refresh(read(account))
    relink(browser, account)
    read(account).delete()
    assert revoking.deliver_revocations(10) == 1
    assert alive(sandbox) == 0


def test_a_disconnect(
    proxy: FaultProxy, sandbox: Sandbox, browser: Client, maya: Any, subtests: pytest.Subtests
) -> None:
    """The row is deleted at once, and the revocation repeated until Ontraport has heard. The response has no body that could be faulty."""
    for name, fault in SOME.items():
        if fault.in_answer and fault.behind == BODY:
            continue
        with subtests.test(name):
            account = linked_account(maya, sandbox)
            with meeting(proxy, fault):
                response = browser.post(reverse("ontraport_connect:disconnect", args=[account.uid]))
            assert response["Location"] == reverse("ontraport_connect:accounts")
            assert proxy.requests(b"POST /oauth/revoke ") <= 1
            assert not OntraportAccount.objects.exists()
            assert OntraportRevocation.objects.count() == 1
            make_due()
            assert revoking.deliver_revocations(10) == 1
            assert (alive(sandbox), OntraportRevocation.objects.count()) == (0, 0)


def test_registration(proxy: FaultProxy, subtests: pytest.Subtests) -> None:
    options = {"again": True, "redirect_uri": None, "name": "", "public": False}

    def run() -> Any:
        return register.run(options, lambda text: None)

    for name, fault in SOME.items():
        with subtests.test(name):
            with meeting(proxy, fault):
                error = error_of(run)
            assert isinstance(error, OntraportUnavailable)
            assert proxy.requests(b"POST /oauth/register ") <= 1
            assert run().data["ONTRAPORT_CLIENT_ID"]


@pytest.mark.parametrize("subject", ["token endpoint", "metadata"])
def test_what_the_check_command_reads(
    proxy: FaultProxy, sandbox: Sandbox, subtests: pytest.Subtests, subject: str
) -> None:
    """The command reports what it found, and goes on to the next address."""
    endpoints = dict(sandbox.endpoints)
    if subject == "metadata":
        endpoints["issuer"] = proxy.url
    else:
        endpoints["token_endpoint"] = f"{proxy.url}/oauth/token"
    elsewhere = {"ONTRAPORT_MCP_URL": sandbox.url, "ONTRAPORT_REST_URL": f"{sandbox.url}/1/"}
    with override_settings(ONTRAPORT_ENDPOINTS=endpoints, **elsewhere):
        sound = [found.text for found in diagnosis.check_endpoints()]
        for name, fault in ONE_OF_EACH_KIND.items():
            with subtests.test(name), meeting(proxy, fault, timeout=PATIENT):
                found = [found.text for found in diagnosis.check_endpoints()]
                assert len(proxy.passages) == 1
                assert [text for text in found if subject not in text][:4] == [
                    text for text in sound if subject not in text
                ][:4]
        assert [found.text for found in diagnosis.check_endpoints()] == sound


def of_get() -> Iterator[tuple[str, Fault]]:
    """Yield the faults that a request without a body can meet."""
    for name, fault in SOME.items():
        if fault.in_answer or fault.behind != BODY:
            yield name, fault


def test_a_call_of_the_rest_api(proxy: FaultProxy, maya: Any, subtests: pytest.Subtests) -> None:
    account = key_account(maya)

    def call() -> Any:
        return account.rest("GET", "objects", params={"objectID": 0})["data"]

    for name, fault in of_get():
        with subtests.test(name):
            with meeting(proxy, fault):
                error = error_of(call)
            assert error is not None
            assert proxy.requests(b"GET /1/") <= 1
            assert read(account).status == Status.CONNECTED
            assert call()


def test_a_call_of_an_mcp_tool(proxy: FaultProxy, maya: Any, subtests: pytest.Subtests) -> None:
    account = key_account(maya)
    for name, fault in SOME.items():
        with subtests.test(name):
            with meeting(proxy, fault):
                error = error_of(lambda: account.mcp("get_account_info"))
            assert error is not None
            assert proxy.requests(b"tools/call") <= 1
            assert read(account).status == Status.CONNECTED
            assert account.mcp("get_account_info")["account_id"] == 187157


def test_a_key_that_is_tried(proxy: FaultProxy, browser: Client, subtests: pytest.Subtests) -> None:
    form = {"app_id": KEYS["app_id"], "api_key": KEYS["access_token"]}
    for name, fault in of_get():
        with subtests.test(name):
            with meeting(proxy, fault):
                response = browser.post(reverse("ontraport_connect:connect_key"), form)
            assert response.status_code == 422
            assert b"try again" in response.content
            assert not OntraportAccount.objects.exists()
            assert browser.post(reverse("ontraport_connect:connect_key"), form).status_code == 302
            OntraportAccount.objects.get(ontraport_id="187157").delete()
