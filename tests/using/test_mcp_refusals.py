"""What an MCP server refuses, by a status or inside a result, has the same consequences; credentials go in the form that it takes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.test import override_settings

from ontraport_connect.exceptions import OntraportRejected, OntraportUnavailable, ReconnectRequired
from ontraport_connect.models import OntraportAccount
from ontraport_connect.refreshing import one_account
from tests.support import ontraport
from tests.support.linked import key_account, linked_account, person
from tests.support.mcp_server import HANDSHAKE, McpServer, text
from tests.support.servers import Sandbox

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def account() -> OntraportAccount:
    return key_account(person("maya"))


@pytest.fixture
def server() -> Iterator[McpServer]:
    with McpServer() as server, server.settings:
        yield server


@pytest.fixture
def oauth(sandbox: Sandbox) -> Iterator[OntraportAccount]:
    """An account linked at the sandbox, which refreshes it."""
    with override_settings(**ontraport.settings_for(sandbox.url)):
        yield linked_account(person("maya"), sandbox)


def error_of(code: object) -> Any:
    return lambda params: text({"code": code, "error": "refused", "message": "Invalid Contact ID"}, is_error=True)


@pytest.mark.parametrize(("code", "named"), [(400, "http_400"), (403, "http_403"), (422, "http_422")])
def test_a_refusal_inside_a_result_is_one(server: McpServer, account: OntraportAccount, code: int, named: str) -> None:
    server.tool = error_of(code)
    with pytest.raises(OntraportRejected) as raised:
        account.mcp("get_objects")
    assert (raised.value.code, raised.value.status, "Invalid Contact ID" in raised.value.said) == (named, code, True)


@pytest.mark.parametrize("code", [500, 503])
def test_a_failure_inside_a_result_is_ontraports_and_the_outcome_unknown(
    server: McpServer, account: OntraportAccount, code: int
) -> None:
    server.tool = error_of(code)
    with pytest.raises(OntraportUnavailable) as raised:
        account.mcp("create_object")
    assert (raised.value.code, raised.value.outcome_unknown) == (f"http_{code}", True)


@pytest.mark.parametrize("code", [7, 200, "422", None, 4220])
def test_another_code_is_the_tools_own(server: McpServer, account: OntraportAccount, code: object) -> None:
    server.tool = error_of(code)
    with pytest.raises(OntraportRejected) as raised:
        account.mcp("get_objects")
    assert (raised.value.code, raised.value.status) == ("tool_error", None)


def test_what_a_tool_said_is_not_kept_when_it_repeats_credentials(server: McpServer, account: OntraportAccount) -> None:
    key = account.access_token.reveal()
    server.tool = lambda params: text({"message": f"The key {key} is wrong."}, is_error=True)
    with pytest.raises(OntraportRejected) as raised:
        account.mcp("get_objects")
    assert raised.value.said == ""


@override_settings(ONTRAPORT_RATE_WAIT=2)
def test_a_429_inside_a_result_stops_all_calls_of_the_account(server: McpServer, account: OntraportAccount) -> None:
    server.tool = error_of(429)
    with pytest.raises(OntraportUnavailable) as raised:
        account.mcp("get_objects")
    assert (raised.value.code, raised.value.outcome_unknown, len(server.called)) == ("rate_limited", False, 1)
    with pytest.raises(OntraportUnavailable, match="used up"):
        OntraportAccount.objects.get().mcp("get_objects")
    assert len(server.called) == 1


def test_a_401_inside_a_result_makes_a_check_of_the_key_pair_due(server: McpServer, account: OntraportAccount) -> None:
    server.tool = error_of(401)
    with pytest.raises(OntraportUnavailable) as raised:
        account.mcp("get_objects")
    assert (raised.value.code, OntraportAccount.objects.get().last_error) == ("key_refused", "key_refused")
    assert (raised.value.outcome_unknown, len(server.called)) == (False, 1)


def test_a_401_inside_a_result_is_one_refresh_and_one_retry(oauth: OntraportAccount, sandbox: Sandbox) -> None:
    refused = oauth.access_token.reveal()
    with McpServer() as server, server.settings:

        def tool(params: dict[str, Any]) -> Any:
            is_old = server.asked[-1].headers["Authorization"] == f"Bearer {refused}"
            return error_of(401)(params) if is_old else text("done")

        server.tool = tool
        assert oauth.mcp("get_objects") == "done"
        assert (server.opened, server.requests) == (1, 4)
        server.tool = error_of(401)
        with pytest.raises(OntraportRejected) as raised:
            oauth.mcp("get_objects")
    assert (raised.value.code, raised.value.status) == ("http_401", 401)
    assert sandbox.state()["counts"]["token:refresh_token"] == 2


def test_a_401_inside_a_result_of_a_grant_that_has_ended_asks_for_a_reconnect(
    oauth: OntraportAccount, sandbox: Sandbox
) -> None:
    sandbox.revoke()
    with McpServer(tool=error_of(401)) as server, server.settings, pytest.raises(ReconnectRequired) as raised:
        oauth.mcp("get_objects")
    assert raised.value.account_uid == oauth.uid


def test_a_refreshed_token_is_used_in_the_session_that_is_held(oauth: OntraportAccount) -> None:
    with McpServer() as server, server.settings:
        oauth.mcp("echo")
        old = oauth.access_token.reveal()
        one_account.refresh(oauth)
        server.refused_tokens.add(old)
        oauth.mcp("echo")
        assert (server.opened, server.requests) == (1, 4)
        server.refused_tokens.add(oauth.access_token.reveal())
        oauth.mcp("echo")  # a 401, a refresh, and the same request again in the same session
        assert (server.opened, server.requests) == (1, 6)


def test_a_session_that_is_for_the_old_token_only_is_opened_anew_for_the_new_one(oauth: OntraportAccount) -> None:
    with McpServer(binds=True) as server, server.settings:
        oauth.mcp("echo")
        one_account.refresh(oauth)
        oauth.mcp("echo")
        assert (server.opened, len(server.called)) == (2, 2)
        server.tool = lambda params: McpServer.forbidden
        with pytest.raises(OntraportRejected) as raised:
            oauth.mcp("echo")
        assert (raised.value.code, server.opened) == ("http_403", 2)


FORMS = [(("headers", "bearer"), [3, 1, 3]), (("headers",), [3, 1, 3]), (("bearer",), [4, 1, 3])]


@pytest.mark.parametrize(("takes", "costs"), FORMS)
def test_a_key_pair_goes_in_two_headers_or_as_a_bearer_pair_where_they_are_refused(
    account: OntraportAccount, takes: tuple[str, ...], costs: list[int]
) -> None:
    other, found = key_account(person("tomas")), []
    with McpServer(takes=takes) as server, server.settings:
        for each in (account, account, other):
            before = server.requests
            assert each.mcp("echo", a=1) == {"a": 1}
            found.append(server.requests - before)
        sent = {name.lower() for name in server.asked[-1].headers} & {"api-key", "api-appid", "authorization"}
    assert found == costs
    assert sent == ({"authorization"} if takes == ("bearer",) else {"api-key", "api-appid"})


@pytest.mark.parametrize("takes", [("headers",), ("bearer",)])
def test_a_pair_that_is_refused_in_both_forms_is_refused_and_later_in_the_known_one(
    account: OntraportAccount, takes: tuple[str, ...]
) -> None:
    with McpServer(takes=takes) as server, server.settings:
        server.refused_tokens.add("2_187157_sandbox:sandbox-key-owner")
        with pytest.raises(OntraportUnavailable) as raised:
            account.mcp("echo")
        assert (raised.value.code, server.requests) == ("key_refused", 2)
        server.refused_tokens.clear()
        account.mcp("echo")
        server.refused_tokens.add("2_187157_sandbox:sandbox-key-owner")
        before = server.requests
        with pytest.raises(OntraportUnavailable, match="refused"):
            account.mcp("echo")
        assert server.requests - before == 1


def test_arguments_are_sent_as_json_has_them_and_others_are_refused_before_anything_is_sent(
    server: McpServer, account: OntraportAccount
) -> None:
    assert account.mcp("echo", day=account.linked_at.date(), none=None) == {
        "day": account.linked_at.date().isoformat(),
        "none": None,
    }
    sent = server.requests
    with pytest.raises(TypeError):
        account.mcp("echo", account=account)
    with pytest.raises(ValueError, match="JSON"):
        account.mcp("echo", number=float("nan"))
    assert server.requests == sent
    assert server.asked[-1].headers["Mcp-Protocol-Version"] == HANDSHAKE
