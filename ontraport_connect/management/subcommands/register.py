"""``register``: register this site with Ontraport as an OAuth client (RFC 7591)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urljoin, urlsplit

from django.core.management.base import CommandError, CommandParser

from ontraport_connect import refreshing
from ontraport_connect.conf import conf
from ontraport_connect.encryption import Secret
from ontraport_connect.exceptions import OntraportMisconfigured
from ontraport_connect.management.reports import USAGE, Progress, Report
from ontraport_connect.protocol import Client, is_loopback, require_secure, reveal

HELP = "Register this site with Ontraport as an OAuth client, and print the lines for its environment. The secret is shown only once."


def add_arguments(parser: CommandParser) -> None:
    parser.add_argument("--redirect-uri", help="the callback's absolute URL (default: ONTRAPORT_REDIRECT_URI)")
    parser.add_argument("--name", help="what Ontraport shows its users (default: the host of the redirect URI)")
    parser.add_argument("--public", action="store_true", help="register a client without a secret")
    parser.add_argument("--again", action="store_true", help="register although ONTRAPORT_CLIENT_ID is set")


def run(options: Mapping[str, Any], progress: Progress) -> Report:
    if conf.ONTRAPORT_CLIENT_ID and not options["again"]:
        raise CommandError(
            "ONTRAPORT_CLIENT_ID is set: this site is registered, and its links belong to that client. Add --again to register once more.",
            returncode=USAGE,
        )
    metadata = client_metadata(_redirect_uri(options), options["name"] or "", is_public=options["public"])
    progress("Asking Ontraport…")
    client = Client(client_id="", client_secret=None, endpoints=refreshing.endpoints(), scopes=(), resource=None)
    with refreshing.new_transport() as transport:
        registration = client.register(transport, metadata)
    secret = registration.get("client_secret")
    environment = {"ONTRAPORT_CLIENT_ID": registration["client_id"]} | (
        {"ONTRAPORT_CLIENT_SECRET": secret} if secret else {}
    )
    return Report(
        lines=[
            f"# {metadata['client_name']} is registered with Ontraport. Put these lines into the environment of the site;"
            + (" the secret is shown only once." if secret else " it is a public client, without a secret."),
            *(
                _line(name, value)
                for name, value in {**environment, "ONTRAPORT_REDIRECT_URI": metadata["redirect_uris"][0]}.items()
            ),
        ],
        data={name: reveal(value) for name, value in environment.items()} | {"metadata": metadata},
    )


def after_a_stop(options: Mapping[str, Any], last: str) -> str:
    return (
        "Stopped. Ontraport may have registered a client whose secret nobody has seen; run this again for another one."
    )


def client_metadata(redirect_uri: str, name: str, *, is_public: bool) -> dict[str, Any]:
    """Return the client metadata of this site (RFC 7591, 2; ``application_type``: OpenID Connect Dynamic Client Registration 1.0, 2)."""
    parts = urlsplit(redirect_uri)
    return {
        "client_name": name or parts.netloc,
        "client_uri": urljoin(redirect_uri, "/"),
        "redirect_uris": [redirect_uri],
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
        "token_endpoint_auth_method": "none" if is_public else "client_secret_post",
        "application_type": "native" if is_loopback(parts.hostname) else "web",
        "scope": " ".join(conf.ONTRAPORT_SCOPES),
    }


def _redirect_uri(options: Mapping[str, Any]) -> str:
    redirect_uri: str | None = options["redirect_uri"] or conf.ONTRAPORT_REDIRECT_URI
    if redirect_uri is None:
        raise CommandError(
            "Ontraport has to know the callback's address: set ONTRAPORT_REDIRECT_URI, or give --redirect-uri"
            " https://your.site/ontraport/callback/.",
            returncode=USAGE,
        )
    try:
        require_secure(redirect_uri)
    except (OntraportMisconfigured, ValueError):
        raise CommandError(f"{redirect_uri} is not an https URL.", returncode=USAGE) from None
    return redirect_uri


def _line(name: str, value: str | Secret) -> str:
    return f"{name}={reveal(value)}"
