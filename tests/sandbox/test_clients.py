"""The judge of the clients that are installed from PyPI and npm (``tests/clients``), and one of these clients with it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.clients.__main__ import main, table
from tests.clients.installed import CLIENTS, installed
from tests.clients.judging import REFUSED, RIGHT, WRONG, Expected, Ledger, masked, of_tool, verdict_on
from tests.clients.mcp_checks import under
from tests.clients.mcp_settings import SETTINGS, Setting
from tests.clients.running import Outcome, Site, running

TWO = {"data": [{"id": "1", "city": "Lagos"}, {"id": "2", "city": "Oban"}]}


@pytest.mark.parametrize(
    ("outcome", "expected", "verdict"),
    [
        (Outcome(value=TWO), Expected(answer={"data": [{"id": "1"}, {"id": "2"}]}), RIGHT),
        (Outcome(value=TWO), Expected(answer={"data": [{"id": "1"}]}), WRONG),
        (Outcome(value={"data": []}), Expected(answer={"data": [{"id": "1"}]}), WRONG),
        (Outcome(value=TWO), Expected(refusal="no words"), WRONG),
        (Outcome(error="501 It has no such call."), Expected(refusal="no such"), REFUSED),
        (Outcome(error="500"), Expected(refusal="no such"), WRONG),
        (Outcome(error="no such"), Expected(answer=TWO), WRONG),
    ],
)
def test_an_answer_is_right_refused_or_wrong(outcome: Outcome, expected: Expected, verdict: str) -> None:
    assert verdict_on(outcome, expected) == verdict


@pytest.mark.parametrize(
    ("said", "structured", "value"),
    [
        ({"a": 1}, True, {"a": 1}),
        ({"a": 2}, True, None),
        (None, True, None),
        (None, False, {"a": 1}),
        ({}, False, None),
    ],
)
def test_a_result_that_says_two_things_says_nothing(said: Any, structured: bool, value: Any) -> None:
    result = {"is_error": False, "text": '{"a": 1}', "structured": said}
    assert of_tool(Outcome(value=result), structured=structured).value == value


def test_no_token_is_in_the_table() -> None:
    assert masked('{"access_token": "secret", "refresh_token": "secret"}').count("secret") == 0


def test_a_client_under_two_settings(url: str) -> None:
    """The MCP SDK is installed wherever the tests run."""
    [client] = [client for client in CLIENTS if client.name == "mcp"]
    assert client in [each for each, _ in installed()]
    ledger, site = Ledger(client="mcp"), Site(url=url)
    settings = {setting.name: setting for setting in SETTINGS}
    with running(client, site) as program:
        under(ledger, program, site, settings["sessions required"])
        under(ledger, program, site, settings["wrong keys"])
        site.note()
        assert [row for row in ledger.rows if row.verdict == WRONG] == []
        assert site.wire["DELETE", "/", 200] == 1
        assert site.wire["POST", "/", 401] > 0
        assert "tools/call get_account_info | 1 | 1 | 0 | 0" in table(ledger.rows)
        under(ledger, program, site, Setting(name="a setting that lies", versions=("1999-12-31",)))
    assert [row.request for row in ledger.rows if row.verdict == WRONG] == ["the version agreed on"]


def test_no_client_is_no_success(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--client", "^nobody$"]) == 1
    assert "No client to run." in capsys.readouterr().out
