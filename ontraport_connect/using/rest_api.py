"""Calls Ontraport's REST API, for accounts that were linked with an App ID and API key."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any
from urllib.parse import urlencode, urljoin

from asgiref.sync import sync_to_async

from ontraport_connect import refreshing
from ontraport_connect.conf import conf
from ontraport_connect.exceptions import OntraportRejected, OntraportUnavailable
from ontraport_connect.models import Method, OntraportAccount
from ontraport_connect.protocol import FAILURES, Answer, pause_of

from . import credentials, rate_limiter, waiting

ANSWER_LIMIT = 16 * 1024 * 1024
"""The largest response body that is read, in bytes."""

PAGE_SIZE = 50
"""The most objects that Ontraport returns at once."""


def rest(
    account: OntraportAccount,
    method: str,
    path: str,
    *,
    params: Mapping[str, Any] | None = None,
    json: Mapping[str, Any] | None = None,
    patience: float | None = None,
) -> Any:
    """Call Ontraport's REST API and return its JSON envelope: ``data``, ``code`` and ``account_id``.

    ``params`` goes into the query, ``json`` into the body. The call waits for its turn, and for the end of a 429, for at most
    ``patience`` seconds in all (default: ``ONTRAPORT_RATE_WAIT``).

    Raises ``OntraportRejected`` (with ``status``), ``OntraportUnavailable``, and ``ReconnectRequired`` when the key pair is refused.
    """
    waiting.refuse_in_event_loop("account.rest()", "await account.arest()")
    if account.method != Method.API_KEY:
        raise credentials.rest_takes_keys()
    url = urljoin(conf.ONTRAPORT_REST_URL, path.lstrip("/")) + (f"?{urlencode(params)}" if params else "")
    credentials.require_destination(url)
    credentials.prepare(account)
    give_up = time.monotonic() + (waiting.longest_wait() if patience is None else patience)
    with refreshing.new_transport() as transport:
        while True:
            with rate_limiter.turn(account, patience=max(0.0, give_up - time.monotonic())):
                answer = transport.send(
                    method, url, document=json, headers=credentials.credentials(account, url), limit=ANSWER_LIMIT
                )
            if answer.status != 429:
                return _read(account, answer)
            rate_limiter.hold(account, pause_of(answer.headers))


async def arest(account: OntraportAccount, method: str, path: str, **kwargs: Any) -> Any:
    """Async version of ``rest``."""
    return await sync_to_async(rest)(account, method, path, **kwargs)


def _read(account: OntraportAccount, answer: Answer) -> Any:
    if answer.status == 200:
        envelope = _envelope(answer)
        if envelope is None:
            raise OntraportUnavailable(FAILURES["nonsense"], code="nonsense")
        return envelope
    if answer.status == 401:
        raise credentials.key_refused(account)
    if 400 <= answer.status < 500:
        raise OntraportRejected(
            f"Ontraport refused the request with status {answer.status}.",
            code=f"http_{answer.status}",
            status=answer.status,
        )
    raise OntraportUnavailable(f"Ontraport answered with status {answer.status}.", code=f"http_{answer.status}")


def _envelope(answer: Answer) -> dict[str, Any] | None:
    try:
        envelope = answer.json()
    except ValueError:
        return None
    return envelope if isinstance(envelope, dict) and "data" in envelope else None


class Pages:
    """The objects of a list, fetched a page at a time while they are iterated over, with ``for`` or ``async for``.

    ``params`` is the query (``objectID``, ``condition``, ``sort`` …). ``start`` is the first object to fetch, ``range`` the size of a page
    (at most 50). ``fetched`` is the number of objects fetched so far; ``position`` is the ``start`` from which to continue later.

    Raises as ``rest`` does, and ``OntraportRejected`` for a path that returns no list.
    """

    def __init__(self, account: OntraportAccount, path: str, params: Mapping[str, Any]) -> None:
        self._account = account
        self._path = path.rstrip("/")
        self._params = {name: value for name, value in params.items() if name not in {"start", "range"}}
        self._size = min(int(params.get("range", PAGE_SIZE)), PAGE_SIZE)
        self.position = int(params.get("start", 0))
        self.fetched = 0

    def total(self) -> int:
        """Ask Ontraport for the number of objects in the whole list, including those before ``start``."""
        waiting.refuse_in_event_loop("total()", "await pages.atotal()")
        info = rest(self._account, "GET", f"{self._path}/getInfo", params=self._params)["data"]
        try:
            return int(info["count"])
        except (KeyError, TypeError, ValueError):
            raise OntraportUnavailable(FAILURES["nonsense"], code="nonsense") from None

    async def atotal(self) -> int:
        """Async version of ``total``."""
        return await sync_to_async(self.total)()

    def pages(self) -> Iterator[list[Any]]:
        """Yield one list of objects per page."""
        waiting.refuse_in_event_loop("Iterating over rest_pages() with for", "async for")
        while True:
            query = {**self._params, "start": self.position, "range": self._size}
            page = rest(self._account, "GET", self._path, params=query)["data"]
            if not isinstance(page, list):
                raise OntraportRejected(f"Ontraport gives no list at {self._path}.", code="no_list")
            self.position += len(page)
            self.fetched += len(page)
            yield page
            if len(page) < self._size:
                return

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
