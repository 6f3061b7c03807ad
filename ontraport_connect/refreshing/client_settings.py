"""This site as Ontraport's OAuth client, as the settings say."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import fields
from urllib.parse import urlsplit

from django.db.models import Q
from django.utils.crypto import salted_hmac

from ontraport_connect.conf import conf
from ontraport_connect.encryption import Secret
from ontraport_connect.exceptions import OntraportMisconfigured
from ontraport_connect.protocol import PRESETS, Client, Endpoints, Route, Transport, shared_transport

NO_CLIENT = "client_id"
"""The code of an account that cannot be refreshed since neither it nor the site names a client."""

OTHER_CLIENT = "other_client"
OTHER_ISSUER = "other_issuer"
"""Codes of accounts that were linked with another client, or at another issuer, than the settings name now."""


def endpoints() -> Endpoints:
    """Return the configured endpoints. Raises ``OntraportMisconfigured``."""
    configured = conf.ONTRAPORT_ENDPOINTS
    if conf.uses_sandbox:
        return _endpoints_of_sandbox(*conf.sandbox_urls())
    if isinstance(configured, str):
        if configured not in PRESETS:
            raise OntraportMisconfigured(
                f"ONTRAPORT_ENDPOINTS is neither a dict nor one of {', '.join(sorted({*PRESETS, 'sandbox'}))}.",
                code="endpoints",
            )
        return PRESETS[configured]
    known = {field.name for field in fields(Endpoints)}
    unknown, missing = set(configured) - known, {"authorization_endpoint", "token_endpoint"} - set(configured)
    if unknown or missing or not all(value is None or _is_url(value) for value in configured.values()):
        raise OntraportMisconfigured(
            "ONTRAPORT_ENDPOINTS needs authorization_endpoint and token_endpoint, and may have issuer, revocation_endpoint and"
            f" registration_endpoint, each a URL; unknown: {sorted(unknown)}, missing: {sorted(missing)}.",
            code="endpoints",
        )
    return Endpoints(**_without_none(configured))


def _is_url(value: object) -> bool:
    """Tell whether a value is a text that can be taken to pieces as a URL. Whether it is a secure one is asked before it is used."""
    with suppress(ValueError):
        return isinstance(value, str) and bool(urlsplit(value))
    return False


def _endpoints_of_sandbox(public: str, internal: str) -> Endpoints:
    """Return the endpoints of the stand-in: where browsers go, and where this site calls."""
    return Endpoints(
        issuer=public,
        authorization_endpoint=f"{public}/oauth/authorize",
        token_endpoint=f"{internal}/oauth/token",
        revocation_endpoint=f"{internal}/oauth/revoke",
        registration_endpoint=f"{internal}/oauth/register",
    )


def _without_none(configured: Mapping[str, str | None]) -> dict[str, str]:
    return {name: value for name, value in configured.items() if value is not None}


def issuer() -> str:
    """Return what names the authorization server that is configured: its issuer, or the origin of its token endpoint where it has none.
    Raises ``OntraportMisconfigured``.
    """
    return endpoints().issuer or _origin()


def _origin() -> str:
    parts = urlsplit(endpoints().token_endpoint)
    return f"{parts.scheme}://{parts.netloc}"


def issuers() -> list[str]:
    """Return the names under which accounts may have recorded the configured server, which may have got its issuer later."""
    return [issuer(), _origin()]


def require_issuer(issued_by: str) -> None:
    """Raise ``OntraportMisconfigured`` (code ``other_issuer``) unless ``issued_by`` (empty: not recorded) is the configured server."""
    if issued_by and issued_by not in issuers():
        raise OntraportMisconfigured(
            f"This account was linked at {issued_by}, and ONTRAPORT_ENDPOINTS names {issuer()}. Nothing was sent. Put the endpoints"
            " back, or let the customer connect again.",
            code=OTHER_ISSUER,
        )


def oauth_client(client_id: str = "", issued_by: str = "", *, may_differ: bool = False) -> Client:
    """Return this site as OAuth client for a grant that was made for ``client_id`` at ``issued_by`` (empty: not recorded).

    A grant stays with its client (RFC 6749, 6), and a token goes to its own issuer only. A client that is the URL of a client metadata
    document is a public one, which goes on after the site has been registered. The client secret is that of ``ONTRAPORT_CLIENT_ID`` alone.
    Raises ``OntraportMisconfigured`` with code ``client_id`` where nothing names a client, ``other_issuer``, and ``other_client`` where the
    settings name another client, unless it ``may_differ``.
    """
    require_issuer(issued_by)
    chosen = client_id or conf.ONTRAPORT_CLIENT_ID
    if not chosen:
        raise OntraportMisconfigured("ONTRAPORT_CLIENT_ID is not set, and the account names no client.", code=NO_CLIENT)
    is_configured = chosen == conf.ONTRAPORT_CLIENT_ID
    if not (is_configured or may_differ or is_document(chosen)):
        raise OntraportMisconfigured(
            "This account was linked with another client id than ONTRAPORT_CLIENT_ID. Nothing was sent. Put the client id back, or let"
            " the customer connect again.",
            code=OTHER_CLIENT,
        )
    return Client(
        client_id=chosen,
        client_secret=Secret(conf.ONTRAPORT_CLIENT_SECRET) if is_configured and conf.ONTRAPORT_CLIENT_SECRET else None,
        endpoints=endpoints(),
        scopes=tuple(conf.ONTRAPORT_SCOPES),
        resource=conf.ONTRAPORT_RESOURCE,
    )


def is_document(client_id: str) -> bool:
    """Tell whether a client id is the URL of a client metadata document."""
    return client_id.startswith(("https://", "http://"))


def of_this_client() -> Q:
    """Return the condition for accounts whose client and issuer are those that the settings name, or are not recorded.
    Raises ``OntraportMisconfigured``.
    """
    own = Q(client_id__in=["", conf.ONTRAPORT_CLIENT_ID or ""])
    documents = Q(client_id__startswith="https://") | Q(client_id__startswith="http://")
    return (own | documents) & Q(issuer__in=["", *issuers()])


def new_transport(*, timeout: tuple[float, float] | None = None) -> Transport:
    """Return a transport over the kept connections of this process, as the settings say. ``timeout`` is in seconds, to connect and to
    answer (default: ``ONTRAPORT_TIMEOUT``).
    """
    return shared_transport(timeout=timeout or conf.ONTRAPORT_TIMEOUT, route=route())


def route() -> Route:
    """Return how Ontraport is reached, as the settings say."""
    return Route(ca_bundle=conf.ONTRAPORT_CA_BUNDLE, proxy=conf.ONTRAPORT_PROXY)


def fingerprint() -> str:
    """Return what tells one configuration of the client from another, without telling the secret."""
    parts = (conf.ONTRAPORT_CLIENT_ID, conf.ONTRAPORT_CLIENT_SECRET, conf.ONTRAPORT_ENDPOINTS)
    return salted_hmac("ontraport_connect.client", repr(parts), algorithm="sha256").hexdigest()
