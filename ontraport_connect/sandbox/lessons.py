"""What each switch of the control page is for, in plain words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class Lesson(NamedTuple):
    title: str
    teaches: str


LESSONS: Mapping[str, Lesson] = {
    "access_token_lifetime": Lesson(
        "Access tokens live, in seconds",
        "A short life shows that your site refreshes in time, and that a call survives a token that ends on the way.",
    ),
    "send_expires_in": Lesson(
        "Say so in expires_in",
        "Ontraport does not promise to. Without it, a site learns of the end from a 401 only.",
    ),
    "refresh_token_lifetime": Lesson(
        "Refresh tokens live, in seconds (0: for ever)",
        "A link that nobody uses may end by itself. Your site should then ask the customer to reconnect.",
    ),
    "refresh_token_grace": Lesson(
        "A spent refresh token works for this many seconds more",
        "Off (0), a refresh token that is used twice ends the grant. Some servers are milder; no site may rely on that.",
    ),
    "one_grant_per_client": Lesson(
        "One grant ends all",
        "When one grant of a person ends, all of that person's grants for the application end (RFC 7009, 2.1 permits it). Two"
        " connections to one Ontraport account then die together.",
    ),
    "issuer": Lesson(
        "Issuer, if it is to be another",
        "A site must refuse an answer whose issuer is not the one it asked (RFC 9207). Leave it empty for the right one.",
    ),
    "rate_limit": Lesson("Requests", "Over the limit comes a 429 without Retry-After. Your site should wait its turn."),
    "rate_window": Lesson("in seconds", "The window rolls, and REST and MCP share it."),
    "contacts": Lesson(
        "At least this many contacts",
        "A page holds 50 at most. Changing this sets all records to what they were at the start.",
    ),
    "mcp_sessions": Lesson(
        "MCP sessions",
        "Some servers keep a session between the calls, and refuse a call without one.",
    ),
    "mcp_unknown_session": Lesson(
        "A session that has ended is answered with",
        "A client should open a new one at 404. Ontraport's published server says 400.",
    ),
    "mcp_session_idle": Lesson(
        "Sessions end after this many idle seconds",
        "A short time shows that a client opens a new session, and does not fail.",
    ),
    "mcp_stream": Lesson(
        "A GET stream stays open, in seconds (0: 405)",
        "Clients may listen for messages of the server. They must work without it, and not mind that it ends.",
    ),
    "mcp_versions": Lesson(
        "MCP protocol versions",
        "Server and client agree on one at the start. A client should speak old ones as well as new ones.",
    ),
    "mcp_results": Lesson(
        "MCP results",
        "Ontraport's published server sends text that holds JSON, and no structured content.",
    ),
    "mcp_errors_in_results": Lesson(
        "Errors inside MCP results",
        "A failure, also a 429, comes as HTTP 200 with isError and JSON that names the status. A client must look into the result.",
    ),
    "mcp_list_first": Lesson(
        "MCP tools want to be listed first",
        "Some servers know their tools by name only after tools/list was called.",
    ),
    "mcp_keys": Lesson(
        "MCP takes API keys as",
        "Ontraport's hosted server takes both forms, the published one takes the two headers only.",
    ),
}
