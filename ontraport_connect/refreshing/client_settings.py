"""This site as Ontraport's OAuth client, as the settings say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields

from django.utils.crypto import salted_hmac

from ontraport_connect.conf import conf
from ontraport_connect.encryption import Secret
from ontraport_connect.exceptions import OntraportMisconfigured
from ontraport_connect.protocol import PRESETS, Client, Endpoints, Route, Transport, shared_transport

NO_CLIENT = "client_id"
"""The code of an account that cannot be refreshed since neither it nor the site names a client."""


def endpoints() -> Endpoints:
    """Return the configured endpoints. Raises ``OntraportMisconfigured``."""
    configured = conf.ONTRAPORT_ENDPOINTS
    if isinstance(configured, str):
        if configured not in PRESETS:
            raise OntraportMisconfigured(
                f"ONTRAPORT_ENDPOINTS is neither a dict nor one of {', '.join(sorted(PRESETS))}.", code="endpoints"
            )
        return PRESETS[configured]
    known = {field.name for field in fields(Endpoints)}
    unknown, missing = set(configured) - known, {"authorization_endpoint", "token_endpoint"} - set(configured)
    if unknown or missing or not all(value is None or isinstance(value, str) for value in configured.values()):
        raise OntraportMisconfigured(
            "ONTRAPORT_ENDPOINTS needs authorization_endpoint and token_endpoint, and may have issuer, revocation_endpoint and"
            f" registration_endpoint, each a URL; unknown: {sorted(unknown)}, missing: {sorted(missing)}.",
            code="endpoints",
        )
    return Endpoints(**_without_none(configured))


def _without_none(configured: Mapping[str, str | None]) -> dict[str, str]:
    return {name: value for name, value in configured.items() if value is not None}


def oauth_client(client_id: str = "") -> Client:
    """Return this site as OAuth client; ``client_id`` is that of the grant, where it is not ``ONTRAPORT_CLIENT_ID``: a grant stays with the
    client that it was made for (RFC 6749, 6), also when the site has been registered since.

    Raises ``OntraportMisconfigured`` when there is no client id at all.
    """
    secret = Secret(conf.ONTRAPORT_CLIENT_SECRET or "")
    chosen = client_id or conf.ONTRAPORT_CLIENT_ID
    if not chosen:
        raise OntraportMisconfigured("ONTRAPORT_CLIENT_ID is not set, and the account names no client.", code=NO_CLIENT)
    return Client(
        client_id=chosen,
        client_secret=secret if chosen == conf.ONTRAPORT_CLIENT_ID and conf.ONTRAPORT_CLIENT_SECRET else None,
        endpoints=endpoints(),
        scopes=tuple(conf.ONTRAPORT_SCOPES),
        resource=conf.ONTRAPORT_RESOURCE,
    )


def new_transport() -> Transport:
    """Return a transport over the kept connections of this process, as the settings say."""
    return shared_transport(timeout=conf.ONTRAPORT_TIMEOUT, route=route())


def route() -> Route:
    """Return how Ontraport is reached, as the settings say."""
    return Route(ca_bundle=conf.ONTRAPORT_CA_BUNDLE, proxy=conf.ONTRAPORT_PROXY)


def fingerprint() -> str:
    """Return what tells one configuration of the client from another, without telling the secret."""
    parts = (conf.ONTRAPORT_CLIENT_ID, conf.ONTRAPORT_CLIENT_SECRET, conf.ONTRAPORT_ENDPOINTS)
    return salted_hmac("ontraport_connect.client", repr(parts), algorithm="sha256").hexdigest()
