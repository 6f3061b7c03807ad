"""The requests of the OAuth client, and the error that each failed response becomes."""

from __future__ import annotations

import json
from urllib.parse import parse_qs, parse_qsl, urlsplit

import pytest

from ontraport_connect.encryption import Secret
from ontraport_connect.exceptions import (
    OntraportError,
    OntraportMisconfigured,
    OntraportRejected,
    OntraportUnavailable,
    ReconnectRequired,
)
from ontraport_connect.protocol import PRESETS, Client, Endpoints, Transport, challenge_of, new_verifier
from tests.support.hostile_server import HostileServer, KeepAlive, answer

from .authorization_server import GOOD, client_of, refresh

OPERATOR, CUSTOMER, LATER = OntraportMisconfigured, ReconnectRequired, OntraportUnavailable
VERDICTS: list[tuple[int, str, type[OntraportError], str]] = [
    (400, "invalid_grant", CUSTOMER, "invalid_grant"),
    (401, "invalid_grant", CUSTOMER, "invalid_grant"),
    (400, "invalid_client", OPERATOR, "invalid_client"),
    (401, "invalid_client", OPERATOR, "invalid_client"),
    (400, "unauthorized_client", OPERATOR, "unauthorized_client"),
    (400, "invalid_request", LATER, "invalid_request"),
    (400, "invalid_scope", LATER, "invalid_scope"),
    (400, "invalid_target", LATER, "invalid_target"),
    (400, "unsupported_grant_type", LATER, "unsupported_grant_type"),
    (400, "a_code_of_nobodys", LATER, "http_400"),
    (403, "invalid_scope", LATER, "http_403"),
    (400, "INVALID_GRANT", LATER, "http_400"),
    (400, "invalid_grant ", LATER, "http_400"),
    (401, "", LATER, "http_401"),
    (403, "invalid_grant", LATER, "http_403"),
    (404, "invalid_grant", LATER, "http_404"),
    (500, "invalid_grant", LATER, "http_500"),
    (502, "invalid_client", LATER, "http_502"),
    (503, "temporarily_unavailable", LATER, "http_503"),
    (429, "invalid_grant", LATER, "rate_limited"),
    (429, "", LATER, "rate_limited"),
    (200, "invalid_grant", LATER, "nonsense"),
    (201, "", LATER, "http_201"),
    (204, "", LATER, "http_204"),
    (302, "invalid_grant", LATER, "http_302"),
    (599, "", LATER, "http_599"),
]


@pytest.mark.parametrize("verdict", VERDICTS)
def test_each_error_has_its_verdict(
    server: HostileServer, transport: Transport, verdict: tuple[int, str, type[OntraportError], str]
) -> None:
    status, error, kind, code = verdict
    body = {"error": error, "error_description": "canary <script>"}
    with pytest.raises(OntraportError) as caught:
        refresh(server, transport, body, status=f"{status} X")
    assert type(caught.value) is kind
    assert caught.value.code == code
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize("error", [None, 7, ["invalid_grant"], {"code": "invalid_grant"}, "invalid_grant\n", "a" * 65])
def test_an_error_that_is_no_error_code_is_a_plain_refusal(
    server: HostileServer, transport: Transport, error: object
) -> None:
    with pytest.raises(OntraportUnavailable) as caught:
        refresh(server, transport, {"error": error}, status="400 X")
    assert caught.value.code == "http_400"


def form_of(server: HostileServer) -> dict[str, str]:
    return dict(parse_qsl(server.requests[-1].partition(b"\r\n\r\n")[2].decode(), strict_parsing=True))


def test_the_requests_are_those_of_the_standards(server: HostileServer, transport: Transport) -> None:
    """RFC 6749, 4.1.3 and 6; RFC 7636, 4.5; RFC 8707, 2.2; RFC 7009, 2.1."""
    server.behaviour = KeepAlive(answer(json.dumps(GOOD)))
    client = client_of(server)
    client.exchange(transport, code=Secret("a-code"), redirect_uri="https://site/cb", verifier=Secret("a-verifier"))
    credentials = {"client_id": "id", "client_secret": "canary-secret"}
    resource = {"resource": "https://mcp.example"}
    assert form_of(server) == {
        "grant_type": "authorization_code",
        "code": "a-code",
        "redirect_uri": "https://site/cb",
        "code_verifier": "a-verifier",
        **resource,
        **credentials,
    }
    client.refresh(transport, Secret("old"))
    assert form_of(server) == {"grant_type": "refresh_token", "refresh_token": "old", **resource, **credentials}
    client.revoke(transport, Secret("old"))
    assert form_of(server) == {"token": "old", "token_type_hint": "refresh_token", **credentials}


def test_a_public_client_sends_no_secret_and_no_resource_where_none_is_wanted(
    server: HostileServer, transport: Transport
) -> None:
    server.behaviour = KeepAlive(answer(json.dumps(GOOD)))
    client_of(server, client_secret=None, resource=None).refresh(transport, Secret("old"))
    assert form_of(server) == {"grant_type": "refresh_token", "refresh_token": "old", "client_id": "id"}


def test_the_authorization_url_carries_the_challenge_and_never_the_verifier(server: HostileServer) -> None:
    """RFC 6749, 4.1.1; RFC 7636, 4.3."""
    verifier = new_verifier()
    client = client_of(server)
    url = client.authorization_url(redirect_uri="https://s/cb?a=b&c", state="a state", challenge=challenge_of(verifier))
    assert url.startswith(f"{server.url}/authorize?")
    assert parse_qs(urlsplit(url).query) == {
        "response_type": ["code"],
        "client_id": ["id"],
        "redirect_uri": ["https://s/cb?a=b&c"],
        "scope": ["mcp:tools"],
        "state": ["a state"],
        "code_challenge": [challenge_of(verifier)],
        "code_challenge_method": ["S256"],
        "resource": ["https://mcp.example"],
    }
    assert verifier.reveal() not in url
    bare = client_of(server, resource=None).authorization_url(redirect_uri="x", state="s", challenge="c")
    assert "resource" not in bare


def test_an_authorization_url_on_http_is_refused() -> None:
    endpoints = Endpoints(authorization_endpoint="http://a.example/", token_endpoint="https://a.example/")
    client = Client(client_id="id", client_secret=None, endpoints=endpoints, scopes=(), resource=None)
    with pytest.raises(OntraportMisconfigured):
        client.authorization_url(redirect_uri="https://s/", state="s", challenge="c")


def test_the_challenge_is_that_of_rfc_7636_appendix_b() -> None:
    verifier = Secret("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk")
    assert challenge_of(verifier) == "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"


def test_verifiers_are_long_and_never_the_same() -> None:
    verifiers = {new_verifier().reveal() for _ in range(1000)}
    assert len(verifiers) == 1000
    assert all(len(verifier) == 64 for verifier in verifiers)


@pytest.mark.parametrize(("status", "body"), [("200 OK", ""), ("400 X", '{"error": "invalid_grant"}')])
def test_a_revocation_was_heard(server: HostileServer, transport: Transport, status: str, body: str) -> None:
    """A grant that has ended already counts as revoked."""
    server.behaviour = KeepAlive(answer(body, status=status))
    client_of(server).revoke(transport, Secret("old"))


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        ("503 X", "", OntraportUnavailable),
        ("307 X", "", OntraportUnavailable),
        ("400 X", '{"error": "unsupported_token_type"}', OntraportUnavailable),
        ("401 X", '{"error": "invalid_client"}', OntraportMisconfigured),
    ],
)
def test_a_revocation_was_not_heard(
    server: HostileServer, transport: Transport, status: str, body: str, kind: type[OntraportError]
) -> None:
    server.behaviour = KeepAlive(answer(body, status=status))
    with pytest.raises(kind):
        client_of(server).revoke(transport, Secret("old"))


def test_without_a_revocation_endpoint_nothing_is_sent(server: HostileServer, transport: Transport) -> None:
    server.requests.clear()
    Client(client_id="id", client_secret=None, endpoints=PRESETS["guide"], scopes=(), resource=None).revoke(
        transport, Secret("old")
    )
    assert server.requests == []


def test_a_registration_returns_what_the_server_gave_with_its_secrets_hidden(
    server: HostileServer, transport: Transport
) -> None:
    """RFC 7591, 3.2.1."""
    body = {
        "client_id": "new-id",
        "client_secret": "canary",
        "registration_access_token": {"odd": "canary"},
        "redirect_uris": ["https://site/cb"],
        "client_id_issued_at": 7,
    }
    server.behaviour = KeepAlive(answer(json.dumps(body), status="201 Created"))
    registration = client_of(server).register(transport, {"client_name": "Shop"})
    assert "canary" not in repr(registration)
    assert registration["client_id"] == "new-id"
    assert registration["client_secret"].reveal() == "canary"
    assert registration["redirect_uris"] == ["https://site/cb"]


@pytest.mark.parametrize(
    "answered",
    [
        ("400 X", '{"error": "invalid_redirect_uri"}', OntraportRejected, "invalid_redirect_uri"),
        ("403 X", "<h1>no</h1>", OntraportRejected, "403"),
        ("500 X", "", OntraportUnavailable, "500"),
        ("200 OK", "[]", OntraportUnavailable, "understood"),
        ("201 OK", '{"client_id": "two words"}', OntraportUnavailable, "201"),
        ("201 OK", "<h1>done</h1>", OntraportUnavailable, "201"),
    ],
)
def test_a_registration_that_failed_says_why(
    server: HostileServer, transport: Transport, answered: tuple[str, str, type[OntraportError], str]
) -> None:
    status, body, kind, words = answered
    server.behaviour = KeepAlive(answer(body, status=status))
    with pytest.raises(kind, match=words):
        client_of(server).register(transport, {})


def test_endpoints_without_registration_say_so(transport: Transport) -> None:
    client = Client(client_id="id", client_secret=None, endpoints=PRESETS["guide"], scopes=(), resource=None)
    with pytest.raises(OntraportMisconfigured):
        client.register(transport, {})


def test_the_published_endpoints_are_those_of_the_live_service() -> None:
    assert {urlsplit(str(url)).hostname for url in vars_of(PRESETS["ontraport"])} == {"app.ontraport.com"}
    assert PRESETS["guide"].issuer is None


def vars_of(endpoints: Endpoints) -> list[str]:
    return [
        value
        for value in (
            endpoints.issuer,
            endpoints.authorization_endpoint,
            endpoints.token_endpoint,
            endpoints.revocation_endpoint,
        )
        if value
    ]
