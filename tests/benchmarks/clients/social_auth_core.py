"""social-auth-core: `BaseOAuth2PKCE.auth_complete`, begun with `auth_url`, on a session and a storage in memory."""

from __future__ import annotations

from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit

import requests
from social_core.backends.oauth import BaseOAuth2PKCE
from social_core.exceptions import SocialAuthBaseException
from social_core.storage import BaseStorage, NonceMixin
from social_core.strategy import BaseStrategy

from tests.benchmarks.clients.attempt import TIMEOUT, main
from tests.benchmarks.hostile_answers import CLIENT_ID, CLIENT_SECRET, CODE, REDIRECT_URI


class Nonce(NonceMixin):  # type: ignore[misc,no-any-unimported,unused-ignore]
    kept: ClassVar[set[tuple[str, int, str]]] = set()

    @classmethod
    def use(cls, server_url: str, timestamp: int, salt: str) -> bool:
        cls.kept.add((server_url, timestamp, salt))
        return True

    @classmethod
    def consume(cls, server_url: str, timestamp: int, salt: str) -> bool:
        cls.kept.remove((server_url, timestamp, salt))
        return True


class Storage(BaseStorage):  # type: ignore[misc,no-any-unimported,unused-ignore]
    nonce = Nonce


class Strategy(BaseStrategy):  # type: ignore[misc,no-any-unimported,type-arg,unused-ignore]
    """A site in memory whose pipeline ends with the tokens."""

    def __init__(self) -> None:
        self.session: dict[str, Any] = {}
        super().__init__(Storage)

    def get_setting(self, name: str) -> Any:
        return {"KEY": CLIENT_ID, "SECRET": CLIENT_SECRET, "SOCIAL_AUTH_REQUESTS_TIMEOUT": TIMEOUT}[name]

    def request_data(self, merge: bool = True) -> dict[str, Any]:
        return {}

    def build_absolute_uri(self, path: str | None = None) -> str:
        return REDIRECT_URI

    def session_get(self, name: str, default: Any = None) -> Any:
        return self.session.get(name, default)

    def session_set(self, name: str, value: Any) -> None:
        self.session[name] = value

    def session_pop(self, name: str) -> Any:
        return self.session.pop(name, None)

    def authenticate(self, backend: Any, *args: Any, **kwargs: Any) -> Any:
        return kwargs["response"]


def exchange(url: str) -> None:
    callback(url, "https://as.example", "")


def callback(url: str, issuer: str, iss: str) -> None:
    """The library has no setting for the issuer."""

    class Ontraport(BaseOAuth2PKCE):  # type: ignore[misc,no-any-unimported,type-arg,unused-ignore]
        name = "ontraport"
        AUTHORIZATION_URL = f"{issuer}/authorize"
        ACCESS_TOKEN_URL = url
        ACCESS_TOKEN_METHOD = "POST"
        REDIRECT_STATE = False

    backend = Ontraport(Strategy(), redirect_uri=REDIRECT_URI)
    state = parse_qs(urlsplit(backend.auth_url()).query)["state"][0]
    backend.data = {"code": CODE, "state": state, **({"iss": iss} if iss else {})}
    backend.auth_complete()


if __name__ == "__main__":
    main((SocialAuthBaseException, requests.RequestException), exchange=exchange, callback=callback)
