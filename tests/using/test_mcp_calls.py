"""Calling the tools of Ontraport's MCP server."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import requests
from asgiref.sync import async_to_sync
from django.test import override_settings

from ontraport_connect.exceptions import (
    OntraportError,
    OntraportMisconfigured,
    OntraportRejected,
    OntraportUnavailable,
    ReconnectRequired,
)
from ontraport_connect.models import OntraportAccount, Status
from ontraport_connect.protocol import mcp
from ontraport_connect.using import waiting
from ontraport_connect.using.mcp_calls import Tool
from tests.support import ontraport
from tests.support.answering import Answering, Asked, Reply, as_json
from tests.support.linked import key_account, linked_account, person
from tests.support.servers import Sandbox, free_port

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def configured(sandbox: Sandbox) -> Iterator[None]:
    with override_settings(**ontraport.settings_for(sandbox.url)):
        yield


@pytest.fixture
def account() -> OntraportAccount:
    return key_account(person("maya"))


def message(asked: Asked) -> dict[str, Any]:
    parsed: dict[str, Any] = json.loads(asked.body)
    return parsed


def mcp_server(answer: Callable[[dict[str, Any]], Reply | None]) -> Answering:
    """Return a server that opens sessions, and answers later requests with ``answer``."""

    def reply(asked: Asked) -> Reply | None:
        sent = message(asked)
        if sent["method"] == "initialize":
            return result_of(
                sent,
                {"protocolVersion": "2025-11-25", "capabilities": {}, "serverInfo": {"name": "test", "version": "1"}},
            )
        if "id" not in sent:
            return Reply(status=202)
        return answer(sent)

    return Answering(reply)


def result_of(sent: dict[str, Any], result: object) -> Reply:
    return as_json({"jsonrpc": "2.0", "id": sent["id"], "result": result})


def text_of(sent: dict[str, Any], text: str, *, is_error: bool = False) -> Reply:
    return result_of(sent, {"content": [{"type": "text", "text": text}], "isError": is_error})


def test_calls_take_the_route_of_the_settings(account: OntraportAccount) -> None:
    with override_settings(ONTRAPORT_CA_BUNDLE="/no/such/file.pem"), pytest.raises(OntraportMisconfigured) as raised:
        account.mcp("count_objects", objectID="0")
    assert raised.value.code == "ca_bundle"


def test_a_tool_is_called_with_the_key_pair_or_the_token(sandbox: Sandbox, account: OntraportAccount) -> None:
    assert account.mcp("count_objects", objectID="0") == {"count": 21}
    assert linked_account(person("tomas"), sandbox, username="agency").mcp("count_objects", objectID="0") == {
        "count": 20
    }


def test_the_same_in_async_code(account: OntraportAccount) -> None:
    assert async_to_sync(account.amcp)("get_account_info")["account_id"] == 187157
    assert "get_objects" in [tool.name for tool in async_to_sync(account.amcp_tools)()]


def test_an_argument_may_be_called_tool(account: OntraportAccount) -> None:
    with mcp_server(lambda sent: text_of(sent, json.dumps(sent["params"]))) as server, at(server):
        assert account.mcp("echo", tool="hammer", account=7)["arguments"] == {"tool": "hammer", "account": 7}


def test_a_call_costs_three_requests(sandbox: Sandbox, account: OntraportAccount) -> None:
    """Not four: the SDK would fetch the list of all tools to check the answer."""
    account.mcp("count_objects", objectID="0")
    assert sandbox.state()["counts"]["mcp"] == 3


def at(server: Answering) -> Any:
    return override_settings(ONTRAPORT_MCP_URL=server.url)


@override_settings(ONTRAPORT_MCP_TOOLS=["count_objects", "get_objects"])
def test_a_tool_that_the_site_does_not_name_is_refused_before_it_leaves(
    sandbox: Sandbox, account: OntraportAccount
) -> None:
    with pytest.raises(OntraportRejected, match="process_transaction") as raised:
        account.mcp("process_transaction", amount=1)
    assert (raised.value.code, sandbox.state()["counts"]["mcp"]) == ("tool_not_allowed", 0)
    assert [tool.name for tool in account.mcp_tools()] == ["get_objects", "count_objects"]


def test_the_tools_are_listed_with_their_schemas(account: OntraportAccount) -> None:
    tools = {tool.name: tool for tool in account.mcp_tools()}
    assert {"get_account_info", "list_allowed_object_types", "get_objects", "count_objects"} <= tools.keys()
    assert "objectID" in tools["get_objects"].input_schema["properties"]
    assert tools["get_objects"].description


def test_a_list_of_tools_that_never_ends_is_left(account: OntraportAccount) -> None:
    def one_more(sent: dict[str, Any]) -> Reply:
        tool = {"name": "again", "inputSchema": {"type": "object"}}
        return result_of(sent, {"tools": [tool], "nextCursor": "more"})

    with override_settings(ONTRAPORT_RATE_LIMIT=(180, 0.05)), mcp_server(one_more) as server, at(server):
        tools = account.mcp_tools()
    assert tools == [Tool(name="again", description="", input_schema={"type": "object"})] * mcp.MOST_PAGES


@pytest.mark.parametrize(
    ("result", "value"),
    [
        ({"content": [], "structuredContent": {"count": 3}}, {"count": 3}),
        ({"content": [{"type": "text", "text": '{"count": 4}'}]}, {"count": 4}),
        ({"content": [{"type": "text", "text": "Done."}]}, "Done."),
        ({"content": [{"type": "text", "text": "["}, {"type": "text", "text": "1]"}]}, [1]),
        ({"content": [{"type": "text", "text": "[" * 100_000}]}, "[" * 100_000),
        ({"content": [{"type": "image", "data": "AAAA", "mimeType": "image/png"}]}, ""),
    ],
)
def test_what_a_tool_gave_is_read(account: OntraportAccount, result: object, value: object) -> None:
    with mcp_server(lambda sent: result_of(sent, result)) as server, at(server):
        assert account.mcp("anything") == value


def test_a_tool_that_fails_says_why_and_the_message_does_not(account: OntraportAccount) -> None:
    said = "No such contact: " + "x" * 500
    with (
        mcp_server(lambda sent: text_of(sent, said, is_error=True)) as server,
        at(server),
        pytest.raises(OntraportRejected) as raised,
    ):
        account.mcp("get_objects")
    assert (raised.value.code, raised.value.said) == ("tool_error", said[:200])
    assert "contact" not in str(raised.value)


def test_an_unknown_tool_is_said_to_be_that(account: OntraportAccount) -> None:
    with pytest.raises(OntraportRejected, match=r"-32602\)\. Is the tool's name right\?") as raised:
        account.mcp("get_object")
    assert (raised.value.code, raised.value.said) == ("mcp_error", "Unknown tool: get_object")


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ("No such object type\x00:\n 7" + "x" * 500, ("No such object type: 7" + "x" * 500)[:200]),
        ("You sent sandbox-key-owner", ""),
        ("You sent 2_187157_sandbox", ""),
    ],
)
def test_what_the_server_said_of_another_refusal_is_kept_unless_it_repeats_credentials(
    account: OntraportAccount, message: str, said: str
) -> None:
    def refuse(sent: dict[str, Any]) -> Reply:
        return as_json({"jsonrpc": "2.0", "id": sent["id"], "error": {"code": -32001, "message": message}})

    with mcp_server(refuse) as server, at(server), pytest.raises(OntraportRejected) as raised:
        account.mcp("get_objects")
    assert raised.value.said == said
    assert str(raised.value) == "Ontraport's MCP server refused the call (code -32001)."


def compressed(reply: Reply) -> Reply:
    return replace(reply, body=gzip.compress(reply.body), headers={**reply.headers, "Content-Encoding": "gzip"})


def refused(sent: dict[str, Any]) -> Reply:
    return as_json({"jsonrpc": "2.0", "id": sent["id"], "error": {"code": -32602, "message": "Unknown tool"}})


VERDICTS: list[tuple[Callable[[dict[str, Any]], Reply | None], type[OntraportError], str]] = [
    (refused, OntraportRejected, "mcp_error"),
    (lambda sent: Reply(status=400, body=b"Bad"), OntraportRejected, "http_400"),
    (lambda sent: Reply(status=403), OntraportRejected, "http_403"),
    (lambda sent: Reply(status=404), OntraportRejected, "http_404"),
    (lambda sent: Reply(status=500, body=b"<h1>500</h1>"), OntraportUnavailable, "http_500"),
    (lambda sent: Reply(status=307, headers={"Location": "http://127.0.0.1:9/"}), OntraportRejected, "http_307"),
    (lambda sent: Reply(body=b"<h1>?</h1>", headers={"Content-Type": "text/html"}), OntraportUnavailable, "nonsense"),
    (lambda sent: Reply(body=b"{", headers={"Content-Type": "application/json"}), OntraportUnavailable, "nonsense"),
    (lambda sent: result_of(sent, {"content": 7}), OntraportUnavailable, "nonsense"),
    (
        lambda sent: compressed(text_of(sent, "of what size, nobody knows before it is unpacked")),
        OntraportUnavailable,
        "nonsense",
    ),
    (lambda sent: text_of(sent, "x" * mcp.ANSWER_LIMIT), OntraportUnavailable, "too_large"),
    (lambda sent: None, OntraportUnavailable, "cut"),
]


@pytest.mark.parametrize(("answer", "error", "code"), VERDICTS)
def test_each_answer_has_its_verdict(account: OntraportAccount, answer: Any, error: Any, code: str) -> None:
    with (
        override_settings(ONTRAPORT_TIMEOUT=(2, 3)),
        mcp_server(answer) as server,
        at(server),
        pytest.raises(error) as raised,
    ):
        account.mcp("get_objects")
    assert raised.value.code == code
    assert account.status == Status.CONNECTED


UNKNOWN: list[tuple[Callable[[dict[str, Any]], Reply | None], bool]] = [
    (lambda sent: None, True),
    (lambda sent: Reply(status=504), True),
    (lambda sent: Reply(status=429, headers={"Retry-After": "600"}), False),
]


@pytest.mark.parametrize(("answer", "unknown"), UNKNOWN)
def test_a_tool_without_an_answer_may_have_run(account: OntraportAccount, answer: Any, unknown: bool) -> None:
    with mcp_server(answer) as server, at(server):
        with pytest.raises(OntraportUnavailable) as raised:
            account.mcp("process_transaction")
        assert raised.value.outcome_unknown == unknown
        if not unknown:
            return
        with pytest.raises(OntraportUnavailable) as raised:
            async_to_sync(account.amcp)("process_transaction")
        assert raised.value.outcome_unknown


def test_a_tool_that_was_not_called_has_not_run(account: OntraportAccount) -> None:
    with (
        Answering(lambda asked: Reply(status=500)) as server,
        at(server),
        pytest.raises(OntraportUnavailable) as raised,
    ):
        account.mcp("process_transaction")
    assert not raised.value.outcome_unknown


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_no_redirect_is_followed(account: OntraportAccount, status: int) -> None:
    """Not even without credentials: the arguments of a call are data of the customer's."""
    with mcp_server(lambda sent: text_of(sent, "stolen")) as thief:
        away = Reply(status=status, headers={"Location": f"{thief.url}/"})
        with (
            Answering(lambda asked: away) as server,
            at(server),
            pytest.raises(OntraportRejected, match=str(status)) as raised,
        ):
            account.mcp("whoami")
    assert (raised.value.code, len(server.asked), thief.asked) == (f"http_{status}", 1, [])


def test_a_server_that_is_not_there(account: OntraportAccount) -> None:
    with (
        override_settings(ONTRAPORT_MCP_URL=f"http://127.0.0.1:{free_port()}/"),
        pytest.raises(OntraportUnavailable) as raised,
    ):
        account.mcp("get_objects")
    assert raised.value.code == "connection"


def test_a_server_that_hangs(sandbox: Sandbox, account: OntraportAccount) -> None:
    sandbox.set(fault="hang", fault_target="mcp", fault_seconds=3)
    with override_settings(ONTRAPORT_TIMEOUT=(0.2, 0.3)), pytest.raises(OntraportUnavailable) as raised:
        account.mcp("get_objects")
    assert raised.value.code == "timeout"


def test_a_server_that_drips_is_left_at_the_deadline(sandbox: Sandbox, account: OntraportAccount) -> None:
    """Each single answer comes in time, but together they exceed the deadline of the call."""
    sandbox.set(fault="slow", fault_target="mcp", fault_seconds=0.3)
    with override_settings(ONTRAPORT_TIMEOUT=(0.1, 0.5)), pytest.raises(OntraportUnavailable) as raised:
        account.mcp("get_objects")
    assert raised.value.code == "timeout"


def test_a_429_is_waited_out(sandbox: Sandbox, account: OntraportAccount) -> None:
    sandbox.set(fault="429", fault_target="mcp", fault_count=1, retry_after="1")
    assert account.mcp("count_objects", objectID="0") == {"count": 21}


@override_settings(ONTRAPORT_RATE_WAIT=2)
def test_a_429_is_not_waited_out_for_longer_than_the_site_says(sandbox: Sandbox, account: OntraportAccount) -> None:
    sandbox.set(fault="429", fault_target="mcp", retry_after="30")
    with pytest.raises(OntraportUnavailable) as raised:
        account.mcp("count_objects", objectID="0")
    assert raised.value.code == "rate_limited"
    assert sandbox.state()["counts"]["mcp"] == 1


def test_a_page_waits_for_less(sandbox: Sandbox, account: OntraportAccount) -> None:
    sandbox.set(fault="429", fault_target="mcp", retry_after="30")
    with waiting.patience(2), pytest.raises(OntraportUnavailable) as raised:
        account.mcp("count_objects", objectID="0")
    assert raised.value.code == "rate_limited"
    with waiting.patience(2), pytest.raises(OntraportUnavailable, match="used up"):
        requests.get(sandbox.url, auth=account.auth(), timeout=10)
    assert waiting.longest_wait() == 90
    assert sandbox.state()["counts"]["mcp"] == 1


@override_settings(ONTRAPORT_RATE_LIMIT=(4, 0.5))
def test_calls_take_turns(sandbox: Sandbox, account: OntraportAccount) -> None:
    sandbox.set(rate_limit=4, rate_window=0.5)
    for _ in range(2):
        account.mcp("count_objects", objectID="0")
    async_to_sync(account.amcp)("count_objects", objectID="0")
    assert sandbox.state()["counts"]["rate_limited"] == 0


def test_a_refused_pair_is_suspected_and_the_caller_asked_to_come_back(account: OntraportAccount) -> None:
    account.access_token = "revoked-in-ontraport"
    account.save()
    with pytest.raises(OntraportUnavailable) as raised:
        account.mcp("get_objects")
    assert (raised.value.code, raised.value.retry_after) == ("key_refused", 60)
    stored = OntraportAccount.objects.get()
    assert (stored.status, stored.last_error) == (Status.CONNECTED, "key_refused")


def test_a_token_that_is_refused_twice_is_not_tried_again(sandbox: Sandbox) -> None:
    account = linked_account(person("maya"), sandbox)
    with Answering(lambda asked: Reply(status=401)) as server, at(server), pytest.raises(OntraportRejected) as raised:
        account.mcp("get_objects")
    assert (raised.value.status, len(server.asked)) == (401, 2)
    assert sandbox.state()["counts"]["token:refresh_token"] == 1


def test_a_grant_that_was_taken_back_asks_for_a_reconnect(sandbox: Sandbox) -> None:
    account = linked_account(person("maya"), sandbox)
    sandbox.revoke()
    with pytest.raises(ReconnectRequired) as raised:
        account.mcp("get_objects")
    assert (raised.value.code, raised.value.account_uid) == ("invalid_grant", account.uid)


WITHOUT_SDK = """
import sys
sys.modules["mcp"] = sys.modules["httpx2"] = sys.modules["httpx"] = sys.modules["anyio"] = None
import django
django.setup()
from ontraport_connect.exceptions import OntraportMisconfigured
from ontraport_connect.linking.identity import Identity, identify
from ontraport_connect.models import OntraportAccount
from ontraport_connect.encryption.secret import Secret
account = OntraportAccount.objects.get()
print(identify(Secret("token")) == Identity(), account.rest("GET", "objects?objectID=0&range=1")["code"])
print(type(account.httpx_auth()).__name__)
try:
    account.mcp("get_objects")
except OntraportMisconfigured as error:
    print(error)
"""


def test_without_the_extra_rest_works_and_mcp_says_what_to_install(
    sandbox: Sandbox, account: OntraportAccount, child_environ: Any
) -> None:
    """Runs a fresh process from which the MCP SDK is hidden."""
    environ = child_environ(**ontraport.settings_for(sandbox.url))
    done = subprocess.run([sys.executable, "-c", WITHOUT_SDK], env=environ, capture_output=True, text=True, check=False)
    assert (done.stdout.splitlines(), done.stderr) == (
        [
            "True 0",
            "HttpxAuth",
            "Calling Ontraport's MCP server needs the MCP SDK: pip install 'django-ontraport-connect[mcp]'.",
        ],
        "",
    )
