"""How long this site waits after a 429 or a 503."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ontraport_connect.exceptions import OntraportUnavailable
from ontraport_connect.protocol import Transport
from ontraport_connect.protocol.retry_after import LONGEST_PAUSE, RATE_LIMIT_PAUSE, pause_of, retry_after
from tests.support.hostile_server import HostileServer

from .authorization_server import refresh


def in_seconds(seconds: float) -> str:
    return format_datetime(datetime.now(UTC) + timedelta(seconds=seconds), usegmt=True)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("30", 30),
        (" 30 ", 30),
        ("0", 1),
        ("3600", LONGEST_PAUSE),
        ("315360000", LONGEST_PAUSE),
        ("999999999999", LONGEST_PAUSE),
        ("9999999999999", None),
        ("-5", None),
        ("1.5", None),
        ("1e3", None),
        ("soon", None),
        ("", None),
        ("5, 10", None),
        ("٣٠", None),
        ("\0", None),
        ("Fri, 31 Feb 2027 00:00:00 GMT", None),
        ("Fri, 01 Jan 99999 00:00:00 GMT", None),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 1),
        ("Wed, 21 Oct 2015 07:28:00 -0000", 1),
        ("Wed, 21 Oct 2015 07:28:00 +9999", None),
        ("Fri, 01 Jan 2100 00:00:00 GMT", LONGEST_PAUSE),
    ],
)
def test_a_pause_is_what_retry_after_says_within_reason(value: str, seconds: float | None) -> None:
    """RFC 9110, 10.2.3."""
    assert retry_after({"Retry-After": value}) == seconds
    assert pause_of({"Retry-After": value}) == (RATE_LIMIT_PAUSE if seconds is None else seconds)


def test_a_date_in_retry_after_is_that_many_seconds_from_now() -> None:
    pause = retry_after({"Retry-After": in_seconds(120)})
    assert pause is not None
    assert 110 < pause <= 120


@given(
    st.text(max_size=60)
    | st.from_regex(r"[A-Z][a-z]{2}, \d+ [A-Z][a-z]{2} \d+ \d+:\d+:\d+ ([+-]\d+|GMT)", fullmatch=True)
)
@settings(max_examples=300, deadline=None)
def test_no_retry_after_is_an_error_or_longer_than_an_hour(value: str) -> None:
    assert 1 <= pause_of({"Retry-After": value, "X-Rate-Limit-Reset": value}) <= LONGEST_PAUSE


def test_a_429_without_retry_after_waits_for_ontraports_own_header(server: HostileServer, transport: Transport) -> None:
    with pytest.raises(OntraportUnavailable) as caught:
        refresh(server, transport, "", status="429 X", headers="X-Rate-Limit-Reset: 17\r\n")
    assert caught.value.retry_after == 17


def test_a_503_says_when_to_come_back(server: HostileServer, transport: Transport) -> None:
    with pytest.raises(OntraportUnavailable) as caught:
        refresh(server, transport, "", status="503 X", headers="Retry-After: 9\r\n")
    assert caught.value.retry_after == 9
