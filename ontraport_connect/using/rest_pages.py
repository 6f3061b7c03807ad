"""Iterates over the lists of Ontraport's REST API."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any
from urllib.parse import parse_qsl

from asgiref.sync import sync_to_async

from ontraport_connect.exceptions import OntraportRejected, OntraportUnavailable
from ontraport_connect.models import OntraportAccount
from ontraport_connect.protocol import FAILURES

from . import rest_encoding, waiting
from .rest_api import call, rest
from .turns_ahead import TurnsAhead

PAGE_SIZE = 50
"""The most objects that Ontraport returns at once."""


class Pages:
    """The objects of a list, fetched a page at a time while they are iterated over, with ``for`` or ``async for``.

    ``params`` is the query (``objectID``, ``condition``, ``sort`` …), part of which may be in ``path``. ``start`` is the first object to
    fetch, ``range`` the size of a page (at most 50). ``fetched`` is the number of objects fetched so far; ``position`` is the ``start``
    from which to continue later.

    Raises ``ValueError`` for a ``range`` or ``start`` that is no such number. Fetching raises as ``rest`` does, and ``OntraportRejected``
    for a path that returns no list.
    """

    def __init__(self, account: OntraportAccount, path: str, params: Mapping[str, Any]) -> None:
        rest_encoding.url_of(path, params)
        place, query = rest_encoding.split(path)
        self._account = account
        self._path = place.rstrip("/")
        self._params = {
            name: value
            for name, value in {**dict(parse_qsl(query, keep_blank_values=True)), **params}.items()
            if value is not None
        }
        self._size = min(_whole_number("range", self._params.pop("range", PAGE_SIZE), least=1), PAGE_SIZE)
        self.position = _whole_number("start", self._params.pop("start", 0), least=0)
        self.fetched = 0

    def total(self) -> int:
        """Ask Ontraport for the number of objects in the whole list, including those before ``start``.

        Raises ``OntraportRejected`` with code ``no_total`` for a list whose length Ontraport does not tell.
        """
        waiting.refuse_in_event_loop("total()", "await pages.atotal()")
        if "/" not in self._path:
            return self._total_of_info()
        answer = rest(self._account, "GET", self._path, params={**self._params, "count": True, "start": 0, "range": 1})
        try:
            return int(answer["count"])
        except (KeyError, TypeError, ValueError):
            raise OntraportRejected(
                f"Ontraport does not tell how long the list at {self._path} is.", code="no_total"
            ) from None

    def _total_of_info(self) -> int:
        info = rest(self._account, "GET", f"{self._path}/getInfo", params=self._params)
        try:
            return int(info["data"]["count"])
        except (KeyError, TypeError, ValueError):
            raise OntraportUnavailable(FAILURES["nonsense"], code="nonsense") from None

    async def atotal(self) -> int:
        """Async version of ``total``."""
        return await sync_to_async(self.total)()

    def pages(self) -> Iterator[list[Any]]:
        """Yield one list of objects per page."""
        waiting.refuse_in_event_loop("Iterating over rest_pages() with for", "async for")
        turns, is_last = TurnsAhead(self._account), False
        try:
            while not is_last:
                page = self._fetch(turns)
                is_last = len(page) < self._size
                yield page
        except (
            Exception
        ):  # not where the list is abandoned: the garbage collector may do that in the middle of anything
            turns.give_back()
            raise
        turns.give_back()

    def _fetch(self, turns: TurnsAhead) -> list[Any]:
        query = {**self._params, "start": self.position, "range": self._size}
        page = call(self._account, "GET", self._path, turns, params=query).get("data")
        if not isinstance(page, list):
            raise OntraportRejected(f"Ontraport gives no list at {self._path}.", code="no_list")
        self.position += len(page)
        self.fetched += len(page)
        return page

    def __iter__(self) -> Iterator[Any]:
        for page in self.pages():
            yield from page

    async def __aiter__(self) -> AsyncIterator[Any]:
        pages = self.pages()

        def next_page() -> list[Any] | None:
            return next(pages, None)

        while (page := await sync_to_async(next_page)()) is not None:
            for each in page:
                yield each


def _whole_number(name: str, value: Any, *, least: int) -> int:
    if isinstance(value, str) and value.isascii() and value.isdigit():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f"{name} must be a whole number from {least} on.")
    return value
