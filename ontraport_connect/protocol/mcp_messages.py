"""The messages of MCP over streamable HTTP: JSON-RPC requests, and what their answers say (extra ``mcp``). Values in, values out."""

from __future__ import annotations

import base64
import itertools
import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ontraport_connect import __version__
from ontraport_connect.encryption import Secret
from ontraport_connect.exceptions import OntraportError, OntraportRejected, OntraportUnavailable

from .answer import Answer
from .failures import excerpt, unavailable
from .json_rpc import Events, error_code, reply_of
from .mcp_sdk import sdk
from .mcp_sessions import Session
from .retry_after import pause_of

NO_ANSWER = {-32700, -32603, -32600, -32000}
"""JSON-RPC error codes that mean that the server failed."""

INVALID_PARAMS = -32602
"""The JSON-RPC error code that a server sends when it knows no tool of this name, or when the arguments do not fit."""

UNSUPPORTED_VERSION = -32022

HEADER_MISMATCH = -32020

CLIENT = {"name": "django-ontraport-connect", "version": __version__}
META = "io.modelcontextprotocol"

NOTHING_SECRET: tuple[Secret, ...] = ()

_ids = itertools.count(1)


@dataclass(frozen=True, kw_only=True, slots=True)
class Message:
    """An HTTP request to an MCP server, without credentials. ``method`` is that of JSON-RPC; empty, the request ends the session."""

    method: str = ""
    document: Mapping[str, Any] | None = field(default=None, repr=False)
    headers: Mapping[str, str | Secret] = field(default_factory=dict)

    @property
    def http_method(self) -> str:
        return "POST" if self.method else "DELETE"

    @property
    def id(self) -> object:
        return (self.document or {}).get("id")

    def end_of_stream(self) -> Callable[[bytes], bool]:
        """Return a function that takes an event stream in pieces, and tells when the response to this request is complete."""
        return Events(self.id).feed


def is_modern(version: str) -> bool:
    """Tell whether this protocol version has neither handshake nor sessions."""
    return version in sdk("mcp_types").version.MODERN_PROTOCOL_VERSIONS


def request(
    session: Session, method: str, params: Mapping[str, Any], schemas: Mapping[str, Mapping[str, Any]] | None = None
) -> Message:
    """Return a request in a session, or with what takes its place in the newer protocol.

    ``schemas`` are those of tools whose arguments are to be repeated in headers.
    """
    if not is_modern(session.version):
        return _message(method, params, {"Mcp-Protocol-Version": session.version, **_session_header(session)})
    meta = {"protocolVersion": session.version, "clientInfo": CLIENT, "clientCapabilities": {}}
    headers = {"Mcp-Protocol-Version": session.version, "Mcp-Method": method}
    if "name" in params:
        headers["Mcp-Name"] = _header_value(params["name"])
    if params.get("name") in (schemas or {}):
        headers |= _headers_of(params["arguments"], (schemas or {})[params["name"]])
    return _message(method, {**params, "_meta": {f"{META}/{key}": value for key, value in meta.items()}}, headers)


def initialize() -> Message:
    params = {
        "protocolVersion": sdk("mcp_types").version.LATEST_HANDSHAKE_VERSION,
        "capabilities": {},
        "clientInfo": CLIENT,
    }
    return _message("initialize", params, {})


def initialized(session: Session) -> Message:
    """Return the notification that ends the handshake."""
    headers = {"Mcp-Protocol-Version": session.version, **_session_header(session)}
    return _message("notifications/initialized", None, headers)


def end_of(session: Session) -> Message:
    return Message(headers={"Mcp-Protocol-Version": session.version, **_session_header(session)})


def _message(method: str, params: Mapping[str, Any] | None, headers: Mapping[str, str | Secret]) -> Message:
    document: dict[str, Any] = {"jsonrpc": "2.0", "method": method}
    if params is not None:
        document |= {"id": next(_ids), "params": params}
    return Message(
        method=method, document=document, headers={"Accept": "application/json, text/event-stream", **headers}
    )


def _session_header(session: Session) -> dict[str, str | Secret]:
    return {} if session.id is None else {"Mcp-Session-Id": session.id}


def _header_value(text: str) -> str:
    """Return a text as the protocol puts it into a header: encoded, unless it is plain visible ASCII."""
    if re.fullmatch(r"[!-~]([ -~]*[!-~])?", text) and not text.startswith("=?base64?"):
        return text
    return f"=?base64?{base64.b64encode(text.encode()).decode()}?="


def _headers_of(arguments: Mapping[str, Any], schema: Mapping[str, Any]) -> dict[str, str]:
    """Return the headers that repeat arguments of a tool, as its schema wants them (``x-mcp-header``)."""
    inbound = sdk("mcp.shared.inbound")  # imports the whole SDK, which nothing else needs
    headers: dict[str, str] = inbound.mcp_param_headers(inbound.x_mcp_header_map(schema), arguments)
    return headers


def wants_headers(answer: Answer, message: Message) -> bool:
    """Tell whether the server misses arguments in the headers of a request, and has not carried it out."""
    return answer.status == 400 and error_code(reply_of(answer, message.id)) == HEADER_MISMATCH


def may_want_a_list(answer: Answer, message: Message) -> bool:
    """Tell whether a server may not know the tool only because nobody has listed its tools yet.

    The code alone does not say so: SDKs use it, too, for a result that does not fit its schema, after the tool has run.
    """
    reply = reply_of(answer, message.id) or {}
    if message.method != "tools/call" or error_code(reply) != INVALID_PARAMS:
        return False
    name = re.escape((message.document or {})["params"]["name"])
    unknown = rf"(unknown tool:? ['\"]?{name}['\"]?$)|(tool ['\"]?{name}['\"]? (is )?not found$)"
    return re.search(unknown, str(reply["error"].get("message")), re.IGNORECASE) is not None


def session_of(url: str, answer: Answer, message: Message) -> Session:
    """Return what the answer to ``initialize`` agrees to. Raises as ``result_of`` does."""
    session = _agreed(url, result_of(answer, message), answer.headers.get("Mcp-Session-Id", ""))
    if session is None:
        raise unavailable("nonsense")
    return session


def _agreed(url: str, result: Mapping[str, Any], number: str) -> Session | None:
    version = result.get("protocolVersion")
    if version not in sdk("mcp_types").version.HANDSHAKE_PROTOCOL_VERSIONS or not re.fullmatch(r"[!-~]*", number):
        return None
    return Session(url=url, version=str(version), id=Secret(number) if number else None)


def is_refused_before_it_is_read(answer: Answer, message: Message) -> bool:
    """Tell whether the server says that it knows no such session, or does not speak this version: nothing was carried out.

    The specification says 404 for a session that has ended, and many servers say 400. An answer to the very request, which names its id,
    is one of a tool.
    """
    if answer.status not in {400, 404}:
        return False
    reply = reply_of(answer, None) or {}
    return reply.get("id") != message.id or error_code(reply) in {-32000, -32001, UNSUPPORTED_VERSION}


def speaks_otherwise(answer: Answer) -> bool:
    """Tell whether an answer to ``initialize`` or ``server/discover`` may come from a server that knows no such request."""
    return answer.status in {400, 404, 405} or (answer.status < 300 and error_code(reply_of(answer, None)) is not None)


def versions_of(answer: Answer, message: Message) -> tuple[str, ...]:
    """Return the protocol versions that a server names in its answer to ``server/discover``."""
    reply = reply_of(answer, message.id) or {}
    result = reply.get("result")
    named = result.get("supportedVersions") if isinstance(result, dict) else None
    return tuple(each for each in named if isinstance(each, str)) if isinstance(named, list) else ()


def result_of(answer: Answer, message: Message, secrets: Iterable[Secret] = NOTHING_SECRET) -> dict[str, Any]:
    """Return the result in the answer to a request.

    Raises ``OntraportRejected`` (what was ``said`` repeats none of ``secrets``) and ``OntraportUnavailable``.
    """
    outcome = _outcome(answer, message, secrets)
    if isinstance(outcome, OntraportError):
        raise outcome
    return outcome


def _outcome(answer: Answer, message: Message, secrets: Iterable[Secret]) -> dict[str, Any] | OntraportError:
    """Return the result or the error. This frame holds what the server sent, which may repeat secrets, so nothing is raised from it."""
    if answer.status == 429:
        return OntraportUnavailable(
            "Ontraport asks to slow down.", code="rate_limited", retry_after=pause_of(answer.headers)
        )
    if answer.status >= 500:
        return OntraportUnavailable(_answered_with(answer.status), code=f"http_{answer.status}")
    reply = (None if 300 <= answer.status < 400 else reply_of(answer, message.id)) or {}
    code = error_code(reply)
    if code is not None and code not in NO_ANSWER:
        return _rpc_refusal(code, reply["error"].get("message"), answer.status, secrets)
    if answer.status >= 300:
        return _refusal(answer, secrets)
    result = reply.get("result")
    is_complete = isinstance(result, dict) and result.get("resultType", "complete") == "complete"
    return result if is_complete else unavailable("nonsense")  # type: ignore[return-value]


def _answered_with(status: int) -> str:
    return f"Ontraport's MCP server answered with status {status}."


def _refusal(answer: Answer, secrets: Iterable[Secret]) -> OntraportError:
    error = OntraportRejected(_answered_with(answer.status), code=f"http_{answer.status}", status=answer.status)
    if answer.status >= 400:
        error.said = excerpt(answer.body.decode(errors="replace"), (each.reveal() for each in secrets))
    return error


def _rpc_refusal(code: int, said: object, status: int, secrets: Iterable[Secret]) -> OntraportRejected:
    text = f"Ontraport's MCP server refused the call (code {code})."
    if code == INVALID_PARAMS:
        text += " Is the tool's name right? `account.mcp_tools()` lists them."
    error = OntraportRejected(text, code="mcp_error", status=status if status >= 400 else None)
    error.said = excerpt(said if isinstance(said, str) else "", (each.reveal() for each in secrets))
    return error


def as_json(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of a tool as JSON has them: dates and the like as text. Raises ``TypeError`` or ``ValueError``."""
    core = sdk("pydantic_core")
    try:
        encoded: dict[str, Any] = core.to_jsonable_python(dict(arguments))
    except core.PydanticSerializationError as error:
        raise TypeError(str(error)) from None
    json.dumps(encoded, allow_nan=False)
    return encoded
