"""Many processes refresh every account at the same moment: each grant is spent once, and every process holds the result."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable

import pytest

from ontraport_connect.models import OntraportAccount
from tests.support.accounts import linked, token_of
from tests.support.databases import SERVERS, WANTED
from tests.support.servers import PROJECT
from tests.support.strict_server import StrictServer

pytestmark = pytest.mark.django_db(transaction=True)

PROCESSES, ACCOUNTS = (20, 50) if WANTED in SERVERS else (4, 20)


def test_every_grant_is_spent_once_and_everybody_holds_the_current_token(
    strict: StrictServer, child_environ: Callable[..., dict[str, str]]
) -> None:
    strict.behave(delay=0.02)
    accounts = [linked(f"g{number}") for number in range(ACCOUNTS)]
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.engine_child", "race", str(PROCESSES)],
        cwd=PROJECT,
        env=child_environ(**strict.settings),
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    current = {str(account.pk): token_of(account) for account in accounts}
    assert [json.loads(line) for line in done.stdout.splitlines()] == [current] * PROCESSES
    assert (strict.requests, strict.dead) == (ACCOUNTS, [])
    assert set(OntraportAccount.objects.values_list("version", flat=True)) == {1}
