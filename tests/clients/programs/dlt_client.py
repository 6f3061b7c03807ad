"""dlt's client for REST APIs (``dlt``): ``RESTClient``, and ``OffsetPaginator`` with the names that Ontraport has for a page."""

from __future__ import annotations

import asyncio
import os
from typing import Any

from dlt.sources.helpers.requests import Client
from dlt.sources.helpers.rest_client import RESTClient
from dlt.sources.helpers.rest_client.paginators import OffsetPaginator

from tests.clients.programs.lines import obey


class Dlt:
    def __init__(self) -> None:
        self.client: RESTClient

    async def connect(self, url: str, headers: dict[str, str]) -> Any:
        session = Client(raise_for_status=False, request_max_attempts=1, request_timeout=20).session
        self.client = RESTClient(f"{url}1/", headers=headers, session=session)

    async def send(
        self,
        method: Any,
        path: str,
        params: dict[str, Any],
        sent: dict[str, Any] | None = None,
        is_form: bool = False,
    ) -> Any:
        """Return the JSON of an answer. Raises ``RuntimeError`` with the status and the text of a refusal."""
        body = {} if sent is None else {"data" if is_form else "json": sent}
        response = self.client.request(path, method, params=params, **body)
        if not response.ok:
            raise RuntimeError(f"{response.status_code} {response.text}")
        return response.json()

    async def pages(self, path: str, params: dict[str, Any]) -> Any:
        """Return the size of each page, and the numbers of all records."""
        paginator = OffsetPaginator(limit=50, offset_param="start", limit_param="range", total_path=None)
        pages = self.client.paginate(path, params=params, paginator=paginator, data_selector="data")
        found = [[record["id"] for record in page] for page in pages]
        return {"sizes": [len(page) for page in found], "ids": [int(number) for page in found for number in page]}


if __name__ == "__main__":
    os.environ["RUNTIME__DLTHUB_TELEMETRY"] = "false"
    program = Dlt()
    asyncio.run(obey({"connect": program.connect, "send": program.send, "pages": program.pages}))
