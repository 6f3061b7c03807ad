"""What ``manage.py ontraport check`` looks at: one function per subject, each yielding findings."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core import checks
from django.utils import timezone

from ontraport_connect import refreshing
from ontraport_connect.conf import conf
from ontraport_connect.database import alias
from ontraport_connect.exceptions import OntraportError, OntraportMisconfigured
from ontraport_connect.protocol import OPERATOR_ERRORS, Answer, Endpoints, Transport

from . import key_rotation
from .background_jobs import check_heartbeat, check_schedule
from .client_document import check_client_document
from .database_check import check_database
from .findings import Finding, Level
from .findings import finding as _finding
from .keeping_up import check_needs_reconnect, check_overdue
from .state_check import check_states
from .unseen_links import check_owners

BODY_LIMIT = 4 * 1024 * 1024
"""The most bytes read from a server that is only probed."""

NO_REVOCATION = (
    "Disconnecting deletes the credentials here but does not revoke the access at Ontraport; the owner has to remove it there. If Ontraport"
    " gave you a revocation_endpoint, add it to ONTRAPORT_ENDPOINTS."
)


def check_configuration() -> Iterator[Finding]:
    """Run the system checks of this app; deployment checks only when ``DEBUG`` is off."""
    found = checks.run_checks(include_deployment_checks=not settings.DEBUG)
    messages = [message for message in found if str(message.id).startswith("ontraport_connect.")]
    for message in messages:
        level = Level.ERROR if message.level >= checks.ERROR else Level.WARNING
        yield _finding("configuration", level, f"{message.msg} ({message.id})", message.hint or "")
    if not messages:
        yield _finding("configuration", Level.OK, "OK")


def check_endpoints() -> Iterator[Finding]:
    """Call every configured address without credentials. Any answer but a server error (5xx) counts as reachable."""
    try:
        endpoints = refreshing.endpoints()
    except OntraportMisconfigured as error:
        yield _finding("endpoints", Level.ERROR, str(error), "Nothing was called.")
        return
    addresses = {
        "authorization endpoint": endpoints.authorization_endpoint,
        "token endpoint": endpoints.token_endpoint,
        "revocation endpoint": endpoints.revocation_endpoint,
        "REST": conf.ONTRAPORT_REST_URL,
        "MCP": conf.ONTRAPORT_MCP_URL,
    }
    with refreshing.new_transport() as transport:
        for name, url in addresses.items():
            if url is not None:
                yield _probe(transport, name, url)
        if endpoints.revocation_endpoint is None:
            yield _finding("endpoints", Level.WARNING, "there is no revocation endpoint", NO_REVOCATION)
        if endpoints.issuer is not None:
            yield from _compare_metadata(transport, endpoints, endpoints.issuer)
        yield from check_client_document(transport)


def _probe(transport: Transport, name: str, url: str) -> Finding:
    try:
        answer = transport.send("GET", url, limit=BODY_LIMIT)
    except OntraportError as error:
        hint = "Start it: manage.py ontraport sandbox." if conf.uses_sandbox else f"Can this machine reach {url}?"
        return _finding("endpoints", Level.ERROR, f"{name}: {error}", hint)
    if answer.status >= 500:
        return _finding(
            "endpoints",
            Level.ERROR,
            f"{name}: answers with status {answer.status}",
            f"Check {url}, or Ontraport may be down.",
        )
    return _finding("endpoints", Level.OK, f"{name}: {url} answers")


def _compare_metadata(transport: Transport, endpoints: Endpoints, issuer: str) -> Iterator[Finding]:
    """Compare the endpoints with what the issuer publishes of itself (RFC 8414, 3)."""
    parts = urlsplit(issuer)
    url = f"{parts.scheme}://{parts.netloc}/.well-known/oauth-authorization-server{parts.path.rstrip('/')}"
    try:
        published = _read_metadata(transport.send("GET", url))
    except OntraportError as error:
        yield _finding("endpoints", Level.WARNING, f"metadata of the issuer: {error}", f"See {url}.")
        return
    if not published:
        yield _finding("endpoints", Level.WARNING, "the issuer publishes no readable metadata", f"See {url}.")
        return
    different = [name for name, value in asdict(endpoints).items() if value and published.get(name, value) != value]
    for name in different:
        yield _finding(
            "endpoints",
            Level.WARNING,
            f"the issuer publishes a different {name} than the configured one",
            f"Compare {url} with ONTRAPORT_ENDPOINTS.",
        )
    if not different:
        yield _finding("endpoints", Level.OK, "they match what the issuer publishes")


def _read_metadata(answer: Answer) -> Mapping[str, Any]:
    try:
        members = answer.json() if answer.status == 200 else {}
    except ValueError:
        return {}
    return members if isinstance(members, dict) else {}


def check_secrets() -> Iterator[Finding]:
    """Decrypt every row. Reports the rows that cannot be decrypted and how many still need an old key."""
    looked_at = old = unreadable = 0
    for model in key_rotation.MODELS:
        for page in key_rotation.pages(model):
            looked_at += len(page)
            old += sum(bool(row.outdated()) for row in page)
            for row in page:
                for column in row.unreadable():
                    unreadable += 1
                    yield _finding(
                        "secrets",
                        Level.ERROR,
                        f"{model._meta.verbose_name} {row.uid}: the {column} cannot be decrypted",
                        "Put its key back into ONTRAPORT_ENCRYPTION_KEYS (or SECRET_KEY_FALLBACKS); if the row was altered, the customer"
                        " has to reconnect.",
                    )
    if old:
        yield _finding(
            "secrets",
            Level.WARNING,
            f"{old} of {looked_at} rows need an old key",
            "Run manage.py ontraport rotate-keys.",
        )
    if not unreadable:
        yield _finding("secrets", Level.OK, f"all of {looked_at} rows can be decrypted")


def check_standing() -> Iterator[Finding]:
    """Report whether refreshing is paused, and until when."""
    row = refreshing.site_standing()
    if row.hold_code == refreshing.RATE_LIMITED and row.held_until and row.held_until > timezone.now():
        yield _finding(
            "hold",
            Level.WARNING,
            f"paused: Ontraport asked this site to slow down; refreshing continues at {row.held_until:%Y-%m-%d %H:%M:%S} UTC",
            "No action needed.",
        )
    elif row.hold_code == refreshing.MANY_ENDED:
        yield _finding(
            "hold",
            Level.ERROR,
            "paused: Ontraport ended the access of many accounts in a row",
            "Check ONTRAPORT_CLIENT_ID and ONTRAPORT_ENDPOINTS, then run `manage.py ontraport refresh --reconsider`. Until then,"
            " refreshing stays paused.",
        )
    elif row.hold_code in OPERATOR_ERRORS:
        yield _finding(
            "hold",
            Level.ERROR,
            f"paused: Ontraport rejected this site's credentials ({row.hold_code})",
            "Fix ONTRAPORT_CLIENT_ID and ONTRAPORT_CLIENT_SECRET, or ask Ontraport. Refreshing then continues by itself.",
        )
    elif row.hold_code and row.hold_code != refreshing.RATE_LIMITED:
        yield _finding(
            "hold",
            Level.ERROR,
            f"paused: a setting of this site is wrong ({row.hold_code})",
            "Fix what is reported under settings. Refreshing then continues by itself.",
        )
    else:
        yield _finding("hold", Level.OK, "not paused")


def check_installation() -> Iterator[Finding]:
    """Tell whether the database is this installation's own, and by what a copy of it would be known."""
    try:
        refreshing.require_own_database()
    except OntraportMisconfigured as error:
        yield _finding("installation", Level.ERROR, str(error), "See docs/operations.md, Staging copies and backups.")
        return
    if conf.ONTRAPORT_INSTALLATION:
        text = "a copy of the database that is given another ONTRAPORT_INSTALLATION sends nothing"
    elif refreshing.marks_of(alias()):
        text = "a copy of the database sends nothing, if its server or its name is another one (with SQLite, its file)"
    else:
        text = (
            "a copy of the database would not be noticed; set ONTRAPORT_INSTALLATION, another value in each environment"
        )
    yield _finding("installation", Level.OK, text)


SUBJECTS: Mapping[str, Callable[[], Iterator[Finding]]] = {
    "database": check_database,
    "configuration": check_configuration,
    "endpoints": check_endpoints,
    "secrets": check_secrets,
    "installation": check_installation,
    "hold": check_standing,
    "heartbeat": check_heartbeat,
    "schedule": check_schedule,
    "overdue": check_overdue,
    "reconnect": check_needs_reconnect,
    "owners": check_owners,
    "accounts": check_states,
}

NEED_TABLES = frozenset(
    {"secrets", "installation", "hold", "heartbeat", "schedule", "overdue", "reconnect", "owners", "accounts"}
)
"""The subjects that query the database."""
