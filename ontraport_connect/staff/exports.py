"""Accounts as a CSV file, without secrets."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

from django.http import StreamingHttpResponse

from ontraport_connect import refreshing
from ontraport_connect.models import SECRET_FIELDS, OntraportAccount, aware, name_of, with_users
from ontraport_connect.refreshing import SitePause

COLUMNS = (
    "uid", "account", "state", "last_error", "user", "tenant", "ontraport_id", "method",
    "linked_at", "refreshed_at", "last_used_at", "expires_at",
)  # fmt: skip

FORMULA = re.compile(r"^(?=[\t\r])|(?:^|(?<=[,;|\t\r\n]))(?=[\s\"]*[=+\-@\uff1d\uff0b\uff0d\uff20])")
"""Where a cell begins that a spreadsheet would run. Which character separates cells depends on the country, so it may be within a text."""


class _Line:
    """Where ``csv`` writes to: a line is handed on instead of being kept."""

    def write(self, line: str) -> str:
        return line


def as_csv(accounts: Any) -> StreamingHttpResponse:
    """Return a download of these accounts (a queryset). Times are in UTC, in ISO 8601; see ``COLUMNS``."""
    rows = with_users(accounts).defer(*SECRET_FIELDS).order_by("pk").iterator(chunk_size=500)
    response = StreamingHttpResponse(_lines(rows), content_type="text/csv; charset=utf-8")
    response["Content-Disposition"] = 'attachment; filename="ontraport-accounts.csv"'
    response["Cache-Control"] = "no-store"
    return response


def _lines(rows: Iterable[OntraportAccount]) -> Iterator[str]:
    writer: Any = csv.writer(_Line())
    pause = refreshing.site_pause()
    yield writer.writerow(COLUMNS)
    for account in rows:
        yield writer.writerow([_cell(value) for value in _values(account, pause)])


def _values(account: OntraportAccount, pause: SitePause) -> Sequence[object]:
    moments = (account.linked_at, account.refreshed_at, account.last_used_at, account.expires_at)
    return [
        account.uid,
        account,
        refreshing.link_state(account, pause).value,
        account.last_error,
        name_of(account.user) if account.user else "",
        account.tenant,
        account.ontraport_id,
        account.method,
        *(_iso(moment) for moment in moments),
    ]


def _iso(moment: datetime | None) -> str:
    return "" if moment is None else aware(moment).astimezone(UTC).isoformat(timespec="seconds")


def _cell(value: object) -> str:
    return FORMULA.sub("'", str(value))
