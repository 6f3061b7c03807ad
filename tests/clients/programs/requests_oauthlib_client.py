"""requests-oauthlib: ``OAuth2Session`` with PKCE, refresh and a protected resource. It reads no metadata, and revokes nothing."""

from __future__ import annotations

import asyncio
import os
from typing import Any

from requests_oauthlib import OAuth2Session

from tests.clients.programs.lines import Order, browse, obey


def as_sent(token: dict[str, Any]) -> dict[str, Any]:
    """Return tokens as the server sent them: the library makes a list of the scope."""
    return {**token, "scope": " ".join(token["scope"])}


class RequestsOauthlib:
    def __init__(self) -> None:
        self.session: Any = None
        self.url = ""
        self.client: dict[str, str] = {}

    async def link(self, url: str, client_id: str, client_secret: str, redirect_uri: str) -> Any:
        self.url = url.rstrip("/")
        self.session = OAuth2Session(client_id, redirect_uri=redirect_uri, scope=["mcp:tools"], pkce="S256")
        self.client = {"client_id": client_id, **({"client_secret": client_secret} if client_secret else {})}
        asked, _ = self.session.authorization_url(f"{self.url}/oauth/authorize")
        return as_sent(
            self.session.fetch_token(
                f"{self.url}/oauth/token",
                authorization_response=browse(asked),
                client_secret=client_secret or None,
                include_client_id=True,
                timeout=20,
            )
        )

    async def refresh(self, token: str | None = None) -> Any:
        given = token or self.session.token["refresh_token"]
        url = f"{self.url}/oauth/token"
        return as_sent(self.session.refresh_token(url, refresh_token=given, timeout=20, **self.client))

    async def resource(self, url: str, message: dict[str, Any]) -> Any:
        response = self.session.post(url, json=message, timeout=20)
        response.raise_for_status()
        return response.json()


if __name__ == "__main__":
    # The callback of a site on a laptop is http, also where the stand-in serves https.
    os.environ["OAUTHLIB_INSECURE_TRANSPORT"] = "1"
    program = RequestsOauthlib()
    orders: dict[str, Order] = {"link": program.link, "refresh": program.refresh, "resource": program.resource}
    asyncio.run(obey(orders))
