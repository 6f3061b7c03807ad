"""Use an account: a ``requests`` auth, and calls to Ontraport's REST and MCP interfaces. Credentials leave for the configured hosts only."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any
from urllib.parse import urlencode, urljoin, urlsplit

import requests
from asgiref.sync import async_to_sync, sync_to_async
from requests.auth import AuthBase
from requests.utils import rewind_body

from . import mcp_client, refreshing, service
from .conf import conf
from .exceptions import OntraportRejected, OntraportUnavailable, ReconnectRequired
from .models import Method, OntraportAccount
from .provider import pause_of
from .secret import Secret
from .transport import FAILURES, Answer, require_secure, reveal

REST_LIMIT = 16 * 1024 * 1024
"""Bytes of the largest REST answer that is read."""


class AccountAuth(AuthBase):
    """A ``requests`` auth: attaches the account's credentials, refreshes ahead of expiry, refreshes and retries once on a 401."""

    def __init__(self, account: OntraportAccount) -> None:
        self.account = account

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        require_destination(request.url or "")
        prepare(self.account)
        position = request.body.tell() if hasattr(request.body, "tell") else None
        self._attach(request)
        request.register_hook("response", lambda response, **kwargs: self._look(response, position, **kwargs))
        return request

    def _attach(self, request: requests.PreparedRequest) -> None:
        request.headers.update(
            {name: reveal(value) for name, value in credentials(self.account, request.url or "").items()}
        )

    def _look(self, response: requests.Response, position: Any, **kwargs: Any) -> requests.Response:
        if response.is_redirect:
            response.close()
            raise OntraportRejected(
                "Ontraport answered with a redirect; credentials do not follow it.", code="redirect"
            )
        if response.status_code != 401 or self.account.method != Method.OAUTH:
            return response
        request = response.request.copy()
        request.hooks["response"] = []
        if position is not None:
            request._body_position = position  # type: ignore[attr-defined]
            rewind_body(request)
        refreshing.refresh(self.account)
        self._attach(request)
        response.content  # noqa: B018  # reads the answer to its end, so that the connection can be used again
        response.close()
        again: requests.Response = response.connection.send(request, **kwargs)  # type: ignore[attr-defined]
        again.history.append(response)
        again.request = request
        return again


def prepare(account: OntraportAccount) -> None:
    """Leave ``account`` with credentials that can be used now. Raises as ``refreshing.ensure_fresh`` does."""
    if not account.tenant and (account.user is None or not account.user.is_active):
        raise OntraportRejected("The owner of this Ontraport account is not active.", code="inactive_user")
    refreshing.ensure_fresh(account)


def require_destination(url: str) -> None:
    """Raise ``OntraportRejected`` unless ``url`` belongs to the configured REST or MCP address."""
    require_secure(url)
    if not any(_is_within(url, base) for base in (conf.ONTRAPORT_REST_URL, conf.ONTRAPORT_MCP_URL)):
        raise OntraportRejected(
            f"{urlsplit(url).hostname} is neither ONTRAPORT_REST_URL nor ONTRAPORT_MCP_URL; no credentials are sent there.",
            code="destination",
        )


def _is_within(url: str, base: str) -> bool:
    return _origin(url) == _origin(base)


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or {"https": 443, "http": 80}.get(parts.scheme)


def credentials(account: OntraportAccount, url: str) -> Mapping[str, Secret]:
    """Return the headers that authenticate ``account``, decrypted only when they are revealed."""
    secret = account.access_token
    if secret is None:
        raise ReconnectRequired("This Ontraport account holds no credentials.", code="no_credentials")
    if account.method == Method.OAUTH:
        if _is_within(url, conf.ONTRAPORT_REST_URL) and not _is_within(conf.ONTRAPORT_REST_URL, conf.ONTRAPORT_MCP_URL):
            raise _rest_takes_keys()
        return {"Authorization": Secret(lambda: f"Bearer {secret.reveal()}")}
    if account.app_id is None:
        raise ReconnectRequired("This Ontraport account holds no App ID.", code="no_credentials")
    return {"Api-Appid": account.app_id, "Api-Key": secret}


def _rest_takes_keys() -> OntraportRejected:
    return OntraportRejected(
        "Ontraport's REST API takes API keys only, and this account was linked with OAuth: use account.mcp(), or link it with an App ID"
        " and API key.",
        code="rest_takes_keys",
    )


def rest(account: OntraportAccount, method: str, path: str, **kwargs: Any) -> Any:
    """Call Ontraport's REST API and return its JSON envelope.

    ``params`` goes into the query, ``json`` into the body. Raises ``OntraportRejected`` (its ``status`` tells), ``OntraportUnavailable``,
    ``ReconnectRequired`` (the key pair is refused).
    """
    if account.method != Method.API_KEY:
        raise _rest_takes_keys()
    params, document = kwargs.pop("params", None), kwargs.pop("json", None)
    if kwargs:
        raise TypeError(f"rest() takes params and json, not {', '.join(sorted(kwargs))}.")
    url = urljoin(conf.ONTRAPORT_REST_URL, path.lstrip("/")) + (f"?{urlencode(params)}" if params else "")
    require_destination(url)
    prepare(account)
    with service.new_transport() as transport:
        answer = transport.send(method, url, document=document, headers=credentials(account, url), limit=REST_LIMIT)
    return _read_envelope(answer)


def _read_envelope(answer: Answer) -> Any:
    if answer.status == 200:
        try:
            return answer.json()
        except ValueError:
            pass
        raise OntraportUnavailable(FAILURES["nonsense"], code="nonsense")
    if answer.status == 401:
        raise ReconnectRequired("Ontraport no longer accepts this App ID and API key.", code="key_refused")
    if answer.status == 429:
        raise OntraportUnavailable(
            "Ontraport asks to slow down.", code="rate_limited", retry_after=pause_of(answer.headers)
        )
    if 400 <= answer.status < 500:
        raise OntraportRejected(
            f"Ontraport refused the request with status {answer.status}.",
            code=f"http_{answer.status}",
            status=answer.status,
        )
    raise OntraportUnavailable(f"Ontraport answered with status {answer.status}.", code=f"http_{answer.status}")


class McpAuth:
    """The same for the MCP SDK's HTTP client: attach, and on a 401 refresh and retry once."""

    requires_request_body = False
    requires_response_body = False

    def __init__(self, account: OntraportAccount) -> None:
        self.account = account

    async def async_auth_flow(self, request: Any) -> AsyncIterator[Any]:
        require_destination(str(request.url))
        await sync_to_async(prepare)(self.account)
        self._attach(request)
        response = yield request
        if response.status_code == 401 and self.account.method == Method.OAUTH:
            await sync_to_async(refreshing.refresh)(self.account)
            self._attach(request)
            yield request

    def _attach(self, request: Any) -> None:
        request.headers.update(
            {name: reveal(value) for name, value in credentials(self.account, str(request.url)).items()}
        )


def mcp(account: OntraportAccount, tool: str, arguments: Mapping[str, Any]) -> Any:
    """Call a tool of Ontraport's MCP server and return what it gave.

    Raises ``OntraportRejected`` for a tool outside ``ONTRAPORT_MCP_TOOLS`` (before anything is sent) or one that reports an error,
    ``OntraportUnavailable``, ``ReconnectRequired``, and ``OntraportMisconfigured`` without the extra ``mcp``.
    """
    return async_to_sync(amcp)(account, tool, arguments)


async def amcp(account: OntraportAccount, tool: str, arguments: Mapping[str, Any]) -> Any:
    """Do what ``mcp`` does, in an async view."""
    if conf.ONTRAPORT_MCP_TOOLS is not None and tool not in conf.ONTRAPORT_MCP_TOOLS:
        raise OntraportRejected(
            f"This site does not use the tool {tool}: it is not in ONTRAPORT_MCP_TOOLS.", code="tool_not_allowed"
        )
    await sync_to_async(prepare)(account)
    return mcp_client.value_of(
        await mcp_client.run(
            conf.ONTRAPORT_MCP_URL,
            mcp_client.auth(McpAuth(account)),
            conf.ONTRAPORT_TIMEOUT,
            lambda client: client.call_tool(tool, dict(arguments)),
        )
    )
