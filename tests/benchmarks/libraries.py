"""How other libraries refresh, one account after the other, as their documentation shows it. Needs the extra `bench`."""

from __future__ import annotations

from collections.abc import Callable

from authlib.integrations.requests_client import OAuth2Session
from social_core.backends.oauth import BaseOAuth2
from social_core.strategy import BaseStrategy


class Strategy(BaseStrategy):  # type: ignore[misc,no-any-unimported,unused-ignore]
    def get_setting(self, name: str) -> str:
        return {"KEY": "client", "SECRET": "secret"}[name.rsplit("_", maxsplit=1)[-1]]

    def get_request_data(self, merge: bool = True) -> dict[str, str]:
        return {}

    def build_absolute_uri(self, path: str | None = None) -> str:
        return f"https://site.example/{path or ''}"


def social_auth_core(url: str, count: int) -> Callable[[], object]:
    class Backend(BaseOAuth2):  # type: ignore[misc,no-any-unimported,type-arg,unused-ignore]
        name = "ontraport"
        REFRESH_TOKEN_URL = f"{url}/token"

    backend = Backend(Strategy())
    return lambda: [backend.refresh_token(f"r.social{number}.0") for number in range(count)]


def authlib(url: str, count: int) -> Callable[[], object]:
    def loop() -> None:
        with OAuth2Session("client", "secret", token_endpoint_auth_method="client_secret_post") as session:
            for number in range(count):
                session.refresh_token(f"{url}/token", refresh_token=f"r.authlib{number}.0")

    return loop
