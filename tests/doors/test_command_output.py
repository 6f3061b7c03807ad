"""What people and machines read from ``manage.py ontraport``: on terminals of any width and encoding, and as JSON."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.test import Client, override_settings
from django.utils import timezone

from ontraport_connect.management import reports
from ontraport_connect.management.subcommands import accounts
from ontraport_connect.models import Method, OntraportAccount, Status
from tests.support import ontraport
from tests.support.command import Run, Terminal
from tests.support.servers import PROJECT, Sandbox, free_port

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def configured(sandbox: Sandbox) -> Iterator[None]:
    with override_settings(**ontraport.settings_for(sandbox.url)):
        yield


@pytest.fixture
def maya() -> Any:
    return get_user_model().objects.create_user("maya", email="maya@shop.example", password="demo")


@pytest.fixture
def account(client: Client, maya: Any, sandbox: Sandbox) -> OntraportAccount:
    """An account linked at the sandbox."""
    client.force_login(maya)
    ontraport.link(client, sandbox)
    return OntraportAccount.objects.get()


def make_account(user: Any, **values: Any) -> OntraportAccount:
    account: OntraportAccount = OntraportAccount.objects.create(
        user=user, **{"access_token": "an-access-token", "refresh_token": "a-refresh-token", **values}
    )
    return account


def make_due() -> None:
    OntraportAccount.objects.update(refresh_at=timezone.now())


def away() -> Any:
    """Settings of an Ontraport that cannot be reached."""
    url = f"http://127.0.0.1:{free_port()}"
    endpoints = {"authorization_endpoint": f"{url}/authorize", "token_endpoint": f"{url}/token"}
    return override_settings(ONTRAPORT_ENDPOINTS=endpoints, ONTRAPORT_REST_URL=f"{url}/1/", ONTRAPORT_MCP_URL=url)


def living_grants(sandbox: Sandbox) -> int:
    return sum(grant["alive"] for grant in sandbox.state()["grants"])


# accounts


def test_accounts_lists_links_in_80_columns_and_no_secret(account: OntraportAccount, maya: Any) -> None:
    OntraportAccount.objects.filter(pk=account.pk).update(expires_at=datetime(2030, 1, 2, 3, 4, tzinfo=UTC))
    make_account(maya, label="A very long name " * 5, failures=3, last_error="timeout", tenant="acme " * 20)
    make_account(None, status=Status.NEEDS_RECONNECT, method=Method.API_KEY, last_error="key_refused")
    run = Run("accounts")
    lines = run.output.splitlines()
    assert lines[:2] == [
        "connected          Harbour Street Coffee (maya)",
        f"  {account.uid}  oauth  until 2030-01-02 03:04 UTC",
    ]
    assert lines[2].startswith("having trouble     A very long name A very long ")
    assert lines[2].endswith("... (acme acme acme acme a...")
    assert lines[3].endswith("  oauth  timeout")
    assert lines[4] == "reconnect needed   Ontraport"
    assert lines[5].endswith("  api key  key_refused")
    assert lines[6:] == ["3 accounts."]
    assert max(map(len, lines)) <= 80
    assert account.access_token.reveal() not in run.output + json.dumps(Run("accounts", "--json").data)


def test_whose_account_it_is_is_said_however_long_its_name_is(maya: Any) -> None:
    make_account(maya, label="A very long name " * 5)
    line = Run("accounts").output.splitlines()[0]
    assert line.endswith("... (maya)")
    assert len(line) == 80


def test_account_that_expires_and_fails_says_both(maya: Any) -> None:
    make_account(maya, expires_at=timezone.now() + timedelta(hours=1), failures=1, last_error="timeout")
    assert "\n  timeout\n" in Run("accounts").output


def test_accounts_can_be_narrowed_to_a_state(account: OntraportAccount, maya: Any) -> None:
    broken = make_account(maya, status=Status.NEEDS_RECONNECT, tenant="acme")
    ownerless = make_account(None, status=Status.NEEDS_RECONNECT)
    listed = Run("accounts", "--state", "needs_reconnect", "--json").data
    assert [(row["uid"], row["owner"]) for row in listed] == [(str(broken.uid), "acme"), (str(ownerless.uid), "")]
    OntraportAccount.objects.all().delete()
    assert Run("accounts").output == "There are no accounts.\n"


@pytest.mark.parametrize("words", ["harbour", "MAYA", "shop.example", "187157", "street maya", "{uid}"])
def test_accounts_can_be_searched(account: OntraportAccount, words: str) -> None:
    other = get_user_model().objects.create_user("other")
    make_account(other, label="Elsewhere", tenant="acme")
    listed = Run("accounts", "--search", words.format(uid=account.uid), "--json").data
    assert [row["uid"] for row in listed] == [str(account.uid)]
    assert Run("accounts", "--search", "nobody at all").output == "There are no accounts.\n"


def test_long_list_is_cut_for_people_and_whole_for_machines(maya: Any) -> None:
    OntraportAccount.objects.bulk_create([OntraportAccount(user=maya) for _ in range(accounts.MAX_LISTED + 1)])
    footer = "100 of 101 accounts; narrow them with --search or --state, or see all with --limit 0."
    assert Run("accounts").output.splitlines()[-1] == footer
    assert Run("accounts", "--limit", "0").output.splitlines()[-1] == "101 accounts."
    counts = [len(Run("accounts", "--json", *more).data) for more in ([], ["--limit", "7"])]
    assert counts == [101, 7]


# disconnect


def test_disconnect_ends_the_grant_at_ontraport(account: OntraportAccount, sandbox: Sandbox) -> None:
    before = living_grants(sandbox)
    run = Run("disconnect", str(account.uid), "--yes")
    assert run.output == f"Disconnected {account} ({account.uid}), and Ontraport was told.\n"
    assert not OntraportAccount.objects.exists()
    assert living_grants(sandbox) == before - 1


def test_disconnect_while_ontraport_is_away_reports_a_pending_revocation(
    account: OntraportAccount, sandbox: Sandbox
) -> None:
    sandbox.set(fault="500", fault_target="revoke")
    assert Run("disconnect", str(account.uid), "--yes", "--json").data == {
        "uid": str(account.uid),
        "disconnected": True,
        "revocation_pending": True,
        "grant_shared": False,
    }


def test_disconnect_while_ontraport_is_away_says_that_the_revocation_is_queued(
    account: OntraportAccount, sandbox: Sandbox
) -> None:
    sandbox.set(fault="500", fault_target="revoke")
    assert Run("disconnect", str(account.uid), "--yes").output == (
        f"Disconnected {account} ({account.uid}). Ontraport could not be told yet: the revocation is queued, and the beat task"
        " tries again.\n"
    )


def test_disconnect_of_a_key_pair_tells_ontraport_nothing_and_does_not_say_so(maya: Any) -> None:
    pair = make_account(maya, method=Method.API_KEY, refresh_token=None, app_id="an-app-id")
    assert Run("disconnect", str(pair.uid), "--yes").output == f"Disconnected {pair} ({pair.uid}).\n"


@pytest.mark.parametrize("stdin", [Terminal, io.StringIO])
@pytest.mark.parametrize(
    ("typed", "is_gone"), [("y\n", True), ("Yes\n", True), ("\n", False), ("", False), ("no\n", False), ("no", False)]
)
def test_disconnect_asks_whoever_or_whatever_answers(
    account: OntraportAccount,
    monkeypatch: pytest.MonkeyPatch,
    stdin: type[io.StringIO],
    typed: str,
    is_gone: bool,
) -> None:
    asked = io.StringIO()
    monkeypatch.setattr(sys, "stdin", stdin(typed))
    run = Run("disconnect", str(account.uid), stderr=asked)
    assert OntraportAccount.objects.exists() is not is_gone
    question = f"Disconnect {account} ({account.uid})? Only the owner can reconnect it. [y/N] "
    is_echoed = stdin is Terminal and typed.endswith("\n")
    assert asked.getvalue() == (question if is_echoed else f"{question}\n")
    expected = (0, "") if is_gone else (1, "Nothing changed.")
    assert (run.status, run.problem) == expected


def test_disconnect_does_not_ask_with_yes_and_cannot_ask_with_json(
    account: OntraportAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    run = Run("disconnect", str(account.uid), "--json")
    assert (run.status, run.problem) == (2, "With --json nobody can be asked: add --yes.")
    assert OntraportAccount.objects.exists()
    assert Run("disconnect", str(account.uid), "--yes").progress == ""
    assert not OntraportAccount.objects.exists()


# refresh


def test_refresh_all_is_tried_later_when_nothing_could_be_reached(maya: Any) -> None:
    for _ in range(2):
        make_account(maya)
    make_account(maya, method=Method.API_KEY, app_id="an-app-id")
    make_due()
    with away():
        run = Run("refresh", "--all")
    assert run.output == (
        "2 accounts due: 2 could not reach Ontraport.\n1 API key checked: 1 could not reach Ontraport.\n"
    )
    assert (run.status, run.problem) == (
        75,
        "Ontraport couldn't be reached for any account. The next run will try again.",
    )


def test_refresh_all_in_json_keeps_the_codes(maya: Any) -> None:
    make_account(maya)
    make_due()
    with away():
        run = Run("refresh", "--all", "--json")
    assert (run.status, run.data["outcomes"]) == (75, {"connection": 1})


def test_refresh_all_is_well_when_some_could_be_reached(account: OntraportAccount, maya: Any, sandbox: Sandbox) -> None:
    make_account(maya, refresh_token="unknown")
    make_due()
    sandbox.set(fault="500", fault_target="token", fault_count=1)
    run = Run("refresh", "--all")
    assert run.status == 0
    assert re.fullmatch(r"2 accounts due: (.+, )?1 got no usable answer from Ontraport(, .+)?\.\n", run.output)


@pytest.mark.parametrize(
    ("outcomes", "words"),
    [
        (
            {"connection": 2, "timeout": 1, "http_503": 1},
            "3 could not reach Ontraport, 1 got no usable answer from Ontraport",
        ),
        (
            {"refreshed": 5, "invalid_grant": 1, "new_code": 1},
            "5 refreshed, 1 must be reconnected, 1 failed (new_code)",
        ),
    ],
)
def test_outcomes_are_said_in_words(outcomes: dict[str, int], words: str) -> None:
    assert reports.summarize(outcomes) == words


# Terminals


def test_progress_on_a_terminal_leaves_nothing_behind(account: OntraportAccount) -> None:
    make_due()
    progress = Run("refresh", "--all", stderr=Terminal()).progress
    assert progress == "\r1 account: 1 refreshed…\x1b[K\r\x1b[K"


def test_progress_is_cleared_before_an_error_too(account: OntraportAccount) -> None:
    assert Run("refresh", "6f0b1a52-9f5d-4a3b-9d8e-1f1f2f3f4f5f", stderr=Terminal()).progress == "\r\x1b[K"


def test_progress_is_not_red_and_no_wider_than_the_terminal(
    account: OntraportAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "12")
    progress = Run("check", "--offline", stderr=Terminal(), no_color=False).progress
    assert "\x1b[31" not in progress
    assert max(len(text) for text in re.findall(r"\r([^\x1b]*)\x1b\[K", progress)) == 11


def test_check_is_coloured_by_level_and_80_columns_wide() -> None:
    with override_settings(ONTRAPORT_TIMEOUT=(0, 0), DEBUG=True):
        run = Run("check", "--offline", stdout=Terminal(), no_color=False)
    lines = run.output.splitlines()
    plain = [re.sub(r"\x1b\[[\d;]*m", "", line) for line in lines]
    assert any(line.startswith("\x1b[31;1mFAIL  settings: ") for line in lines)
    assert any(line.startswith("\x1b[33;1mWARN  background jobs: ") and line.endswith("\x1b[0m") for line in lines)
    assert any(line.startswith("\x1b[32;1mok    due accounts: ") for line in lines)
    assert max(map(len, plain)) <= 80
    assert run.problem == "1 problem found."


def test_hint_that_repeats_is_said_once() -> None:
    output = Run("check", "--offline").output
    assert output.count("background jobs: ") == 2
    assert output.count("Start Celery's beat and worker") == 1


@override_settings(DEBUG=True)
def test_check_that_finds_nothing_says_so(account: OntraportAccount) -> None:
    assert Run("refresh", "--all").status == 0
    assert Run("check", "--offline").output.splitlines()[-1] == "No problems found."


def test_terminal_that_cannot_encode_a_name_ends_no_command(maya: Any) -> None:
    make_account(maya, label="Café Müller")
    bytes_out = io.BytesIO()
    stdout = io.TextIOWrapper(bytes_out, encoding="ascii")
    run = Run("accounts", stdout=stdout, stderr=Terminal())
    stdout.flush()
    assert run.status == 0
    assert rb"connected          Caf\xe9 M\xfcller (maya)" in bytes_out.getvalue()


def test_ascii_terminal_is_no_obstacle_to_any_command(
    account: OntraportAccount, child_environ: Callable[..., dict[str, str]], sandbox: Sandbox
) -> None:
    OntraportAccount.objects.update(label="Café Müller")
    environ = {**child_environ(**ontraport.settings_for(sandbox.url)), "PYTHONIOENCODING": "ascii"}

    def output(*arguments: str) -> str:
        run = subprocess.run(
            [sys.executable, "-m", "django", "ontraport", *arguments],
            check=True,
            cwd=PROJECT,
            capture_output=True,
            env=environ,
        )
        return run.stdout.decode("ascii")

    assert r"Caf\xe9 M\xfcller" in output("accounts")
    assert r"Refreshed Caf\xe9 M\xfcller" in output("refresh", str(account.uid))
    assert r"Disconnected Caf\xe9 M\xfcller" in output("disconnect", str(account.uid), "--yes")


# JSON


def test_every_time_in_json_is_iso_8601_with_its_zone(account: OntraportAccount) -> None:
    (listed,) = Run("accounts", "--json").data
    refreshed = Run("refresh", str(account.uid), "--json").data
    for text in (listed["expires_at"], refreshed["expires_at"]):
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", text)
        assert datetime.fromisoformat(text) > timezone.now()
    assert listed["refreshed_at"] is None or datetime.fromisoformat(listed["refreshed_at"]).tzinfo
