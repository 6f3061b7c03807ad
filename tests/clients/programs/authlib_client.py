"""Authlib: ``OAuth2Session`` with PKCE, refresh, revocation and a protected resource. It reads no metadata, and compares no issuer."""

from __future__ import annotations

import asyncio
from typing import Any

from authlib.common.security import generate_token
from authlib.integrations.requests_client import OAuth2Session

from tests.clients.programs.lines import Order, browse, obey


class Authlib:
    def __init__(self) -> None:
        self.session: Any = None
        self.origin = ""

    async def link(self, url: str, client_id: str, client_secret: str, redirect_uri: str) -> Any:
        self.origin = url.rstrip("/")
        self.session = OAuth2Session(
            client_id,
            client_secret or None,
            token_endpoint_auth_method="client_secret_post" if client_secret else "none",
            revocation_endpoint_auth_method="client_secret_post" if client_secret else "none",
            scope="mcp:tools",
            redirect_uri=redirect_uri,
            code_challenge_method="S256",
            default_timeout=20,
        )
        verifier = generate_token(48)
        asked, state = self.session.create_authorization_url(f"{self.origin}/oauth/authorize", code_verifier=verifier)
        return self.session.fetch_token(
            f"{self.origin}/oauth/token", authorization_response=browse(asked), state=state, code_verifier=verifier
        )

    async def refresh(self, token: str | None = None) -> Any:
        given = token or self.session.token["refresh_token"]
        return self.session.refresh_token(f"{self.origin}/oauth/token", refresh_token=given)

    async def resource(self, url: str, message: dict[str, Any]) -> Any:
        response = self.session.post(url, json=message)
        response.raise_for_status()
        return response.json()

    async def revoke(self) -> Any:
        token = self.session.token["refresh_token"]
        response = self.session.revoke_token(f"{self.origin}/oauth/revoke", token, token_type_hint="refresh_token")
        response.raise_for_status()


if __name__ == "__main__":
    program = Authlib()
    orders: dict[str, Order] = {
        "link": program.link,
        "refresh": program.refresh,
        "resource": program.resource,
        "revoke": program.revoke,
    }
    asyncio.run(obey(orders))
