"""Whether this site is fit to keep its links alive: what ``manage.py ontraport check`` looks at, one function a subject."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core import checks
from django.utils import timezone

from ontraport_connect import refreshing
from ontraport_connect.conf import conf
from ontraport_connect.database import alias
from ontraport_connect.exceptions import OntraportError, OntraportMisconfigured
from ontraport_connect.models import Method, OntraportAccount
from ontraport_connect.protocol import Answer, Endpoints, Transport

from . import key_rotation

PAGE_LIMIT = 4 * 1024 * 1024
"""Bytes of an answer that are read to learn that a server is there."""


class Level(StrEnum):
    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One thing that was looked at, and what to do about it where it is not well."""

    subject: str
    level: Level
    text: str
    hint: str = ""

    def as_dict(self) -> dict[str, str]:
        return {name: str(value) for name, value in asdict(self).items()}


def check_configuration() -> Iterator[Finding]:
    """Run the system checks of this app, those of a deployment only where ``DEBUG`` is off."""
    found = checks.run_checks(include_deployment_checks=not settings.DEBUG)
    messages = [message for message in found if str(message.id).startswith("ontraport_connect.")]
    for message in messages:
        is_error = message.level >= checks.ERROR
        yield _finding(
            "configuration",
            Level.ERROR if is_error else Level.WARNING,
            f"{message.msg} ({message.id})",
            message.hint or "",
        )
    if not messages:
        yield _finding("configuration", Level.OK, "every setting is well")


def check_endpoints() -> Iterator[Finding]:
    """Knock at every address that this site calls, without credentials; any answer but a server error will do."""
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
                yield _knock(transport, name, url)
        if endpoints.issuer is not None:
            yield from _published(transport, endpoints, endpoints.issuer)


def _knock(transport: Transport, name: str, url: str) -> Finding:
    try:
        answer = transport.send("GET", url, limit=PAGE_LIMIT)
    except OntraportError as error:
        return _finding("endpoints", Level.ERROR, f"{name}: {error}", f"Can this machine reach {url}?")
    if answer.status >= 500:
        return _finding(
            "endpoints",
            Level.ERROR,
            f"{name}: answers with status {answer.status}",
            f"Is {url} right, or Ontraport ill?",
        )
    return _finding("endpoints", Level.OK, f"{name}: {url} answers")


def _published(transport: Transport, endpoints: Endpoints, issuer: str) -> Iterator[Finding]:
    """Compare the endpoints with what the issuer publishes of itself (RFC 8414, 3)."""
    parts = urlsplit(issuer)
    url = f"{parts.scheme}://{parts.netloc}/.well-known/oauth-authorization-server{parts.path.rstrip('/')}"
    try:
        published = _read_metadata(transport.send("GET", url))
    except OntraportError as error:
        yield _finding("endpoints", Level.WARNING, f"metadata of the issuer: {error}", f"See {url}.")
        return
    if not published:
        yield _finding("endpoints", Level.WARNING, "the issuer publishes no metadata that can be read", f"See {url}.")
        return
    different = [name for name, value in asdict(endpoints).items() if value and published.get(name, value) != value]
    for name in different:
        yield _finding(
            "endpoints",
            Level.WARNING,
            f"the issuer publishes another {name} than the configured one",
            f"Compare {url} with ONTRAPORT_ENDPOINTS.",
        )
    if not different:
        yield _finding("endpoints", Level.OK, "the endpoints are those that the issuer publishes")


def _read_metadata(answer: Answer) -> Mapping[str, Any]:
    try:
        members = answer.json() if answer.status == 200 else {}
    except ValueError:
        return {}
    return members if isinstance(members, dict) else {}


def check_secrets() -> Iterator[Finding]:
    """Decrypt every row, and say which cannot be, and how many still need an old key."""
    looked_at = old = unreadable = 0
    for model in key_rotation.MODELS:
        for page in key_rotation.pages(model):
            looked_at += len(page)
            old += sum(bool(row.old()) for row in page)
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
    """Tell whether refreshing is held, and until when."""
    row = refreshing.site_standing()
    if row.hold_code == refreshing.RATE_LIMITED and row.held_until and row.held_until > timezone.now():
        yield _finding(
            "hold",
            Level.WARNING,
            f"Ontraport asked this site to slow down; refreshing goes on at {row.held_until:%Y-%m-%d %H:%M:%S} UTC",
            "Nothing is to be done.",
        )
    elif row.hold_code and row.hold_code != refreshing.RATE_LIMITED:
        yield _finding(
            "hold",
            Level.ERROR,
            f"Ontraport refuses this site as a client ({row.hold_code}); nothing is refreshed",
            "Mend ONTRAPORT_CLIENT_ID and ONTRAPORT_CLIENT_SECRET, or ask Ontraport; refreshing then goes on by itself.",
        )
    else:
        yield _finding("hold", Level.OK, "nothing is held back: Ontraport has not refused this site")


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
        text = "a copy of the database on another server, or under another name, sends nothing"
    else:
        text = (
            "a copy of the database would not be noticed; set ONTRAPORT_INSTALLATION, another value in each environment"
        )
    yield _finding("installation", Level.OK, text)


def check_heartbeat() -> Iterator[Finding]:
    """Tell when beat and workers were last seen. They matter once there is a link with a token to refresh."""
    needed = OntraportAccount.objects.using(alias()).filter(method=Method.OAUTH).exists()
    for name, pulse in refreshing.pulses().items():
        if pulse.is_alive:
            yield _finding("heartbeat", Level.OK, f"{name}: seen {pulse.age:.0f} s ago")
            continue
        seen = f"last seen {pulse.seen_at:%Y-%m-%d %H:%M} UTC" if pulse.seen_at else "never seen"
        yield _finding(
            "heartbeat",
            Level.ERROR if needed else Level.WARNING,
            f"{name}: {seen}",
            "Start Celery's beat and worker with ontraport_connect.schedule.BEAT_SCHEDULE, or run"
            " `manage.py ontraport refresh --all` every minute from cron. Beat is seen by what workers do for it: where both"
            " are silent, look at the workers and the broker first.",
        )


SUBJECTS: Mapping[str, Callable[[], Iterator[Finding]]] = {
    "configuration": check_configuration,
    "endpoints": check_endpoints,
    "secrets": check_secrets,
    "installation": check_installation,
    "hold": check_standing,
    "heartbeat": check_heartbeat,
}


def _finding(subject: str, level: Level, text: str, hint: str = "") -> Finding:
    return Finding(subject=subject, level=level, text=text, hint=hint)
