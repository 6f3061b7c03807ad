"""Checks of the values of this app's settings, one by one. None uses the database or the network."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from inspect import signature
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core import checks
from django.core.checks import CheckMessage, Error
from django.utils.module_loading import import_string

from . import linking, protocol, refreshing
from .conf import conf
from .encryption import MINIMUM_KEY_LENGTH
from .exceptions import OntraportMisconfigured
from .protocol import require_secure

MOST_DAYS = 36500
"""A longer time to keep events would lead to dates before the calendar begins."""

SHORTEST_TOKEN = 16


def _endpoints() -> Iterator[CheckMessage]:
    if conf.sandbox_is_refused:  # there is a check of its own for that
        return
    try:
        found = refreshing.endpoints()
    except OntraportMisconfigured as error:
        yield Error(
            str(error), hint="Leave ONTRAPORT_ENDPOINTS out to use the published ones.", id="ontraport_connect.E001"
        )
        return
    for name in ("issuer", "authorization_endpoint", "token_endpoint", "revocation_endpoint", "registration_endpoint"):
        yield from _url(f"ONTRAPORT_ENDPOINTS[{name!r}]", getattr(found, name))


def _addresses() -> Iterator[CheckMessage]:
    own = ("ONTRAPORT_REST_URL", "ONTRAPORT_MCP_URL", "ONTRAPORT_RESOURCE")
    sandbox = ("ONTRAPORT_SANDBOX_URL", "ONTRAPORT_SANDBOX_INTERNAL_URL")
    for name in ("ONTRAPORT_REDIRECT_URI", *(sandbox if conf.uses_sandbox else own)):
        yield from _url(name, getattr(conf, name))


def _url(name: str, value: object) -> Iterator[CheckMessage]:
    if value is None:
        return
    try:
        require_secure(value if isinstance(value, str) else "")
    except (OntraportMisconfigured, ValueError):
        yield Error(
            f"{name} is not the https URL of one host.",
            hint="Use https; plain http is accepted for loopback hosts such as 127.0.0.1 and localhost only. Write the host out, without *"
            " and in ASCII (xn--…).",
            id="ontraport_connect.E002",
        )


def _route() -> Iterator[CheckMessage]:
    try:
        if conf.ONTRAPORT_CA_BUNDLE is not None:
            protocol.tls_context(conf.ONTRAPORT_CA_BUNDLE)
    except OntraportMisconfigured as error:
        yield Error(
            str(error),
            hint="Give the path of a file that holds the certificates of the CAs to trust, in PEM format, one or many; every process that"
            " calls Ontraport must be able to read it. Leave ONTRAPORT_CA_BUNDLE out to trust the public CAs.",
            id="ontraport_connect.E020",
        )
    try:
        if conf.ONTRAPORT_PROXY is not None:
            protocol.Proxy.read(conf.ONTRAPORT_PROXY)
    except OntraportMisconfigured as error:
        yield Error(
            str(error),
            hint="Write it like http://proxy.example.com:3128 or http://user:password@proxy.example.com:3128, with special characters of"
            " the password percent-encoded. SOCKS is not supported.",
            id="ontraport_connect.E021",
        )


def _client() -> Iterator[CheckMessage]:
    for name in ("ONTRAPORT_CLIENT_ID", "ONTRAPORT_CLIENT_SECRET"):
        if not isinstance(getattr(conf, name), (str, type(None))):
            yield Error(
                f"{name} is not a string.", hint="Copy it from Ontraport exactly as it is.", id="ontraport_connect.E003"
            )
    if conf.ONTRAPORT_CLIENT_SECRET and not conf.ONTRAPORT_CLIENT_ID:
        yield Error(
            "ONTRAPORT_CLIENT_SECRET is set without ONTRAPORT_CLIENT_ID.",
            hint="Set both, or neither: without an id this site presents itself by its client metadata document and needs no secret.",
            id="ontraport_connect.E003",
        )
    if conf.ONTRAPORT_ENDPOINTS == "guide" and not conf.ONTRAPORT_CLIENT_ID:
        yield Error(
            "The endpoints of the guide need ONTRAPORT_CLIENT_ID.",
            hint="They don't support client metadata documents. Ask Ontraport for an id, or use the default endpoints.",
            id="ontraport_connect.E003",
        )


def _encryption_keys() -> Iterator[CheckMessage]:
    keys = _raw("ONTRAPORT_ENCRYPTION_KEYS")
    is_list = isinstance(keys, Sequence) and not isinstance(keys, (str, bytes))
    if not is_list or any(not isinstance(key, str) or len(key) < MINIMUM_KEY_LENGTH for key in keys):
        yield Error(
            f"ONTRAPORT_ENCRYPTION_KEYS is not a list of strings of {MINIMUM_KEY_LENGTH} characters or more.",
            hint='Make a key with: python -c "import secrets; print(secrets.token_urlsafe(48))".'
            " Put the newest first, and keep the old ones after it.",
            id="ontraport_connect.E004",
        )


def _tenant() -> Iterator[CheckMessage]:
    if conf.ONTRAPORT_TENANT is None:
        return
    try:
        is_callable = callable(import_string(conf.ONTRAPORT_TENANT))
    except (ImportError, AttributeError, TypeError):
        is_callable = False
    if not is_callable:
        yield Error(
            "ONTRAPORT_TENANT does not name a function that can be imported.",
            hint='Give the dotted path of a function f(request) -> str, such as "shop.tenants.tenant_of".',
            id="ontraport_connect.E005",
        )


def _may() -> Iterator[CheckMessage]:
    try:
        may = linking.may_function()
        if may is not None:
            signature(may).bind(None, None, "link")
    except (OntraportMisconfigured, TypeError) as error:
        yield Error(
            f"ONTRAPORT_MAY cannot be asked, so nobody may link or disconnect anything: {error}",
            hint='Give a function f(request, tenant, action) -> bool, or its dotted path, such as "shop.tenants.may".',
            id="ontraport_connect.E015",
        )
        return
    except ValueError:  # a callable without a signature
        return
    if may is None and conf.ONTRAPORT_TENANT is not None and not hasattr(get_user_model(), "has_perm"):
        yield checks.Warning(
            "The user model has no permissions and ONTRAPORT_MAY is not set, so nobody may link or disconnect for a tenant.",
            hint="Set ONTRAPORT_MAY to a function that knows who may do what for a tenant.",
            id="ontraport_connect.W015",
        )


def _numbers() -> Iterator[CheckMessage]:
    if not _is_pair(_raw("ONTRAPORT_TIMEOUT")):
        yield Error(
            "ONTRAPORT_TIMEOUT is not a pair of positive numbers.",
            hint="Give (seconds to connect, seconds to the end of the answer), such as (3.05, 10).",
            id="ontraport_connect.E006",
        )
    rate_limit = _raw("ONTRAPORT_RATE_LIMIT")
    if not _is_pair(rate_limit) or not isinstance(rate_limit[0], int):
        yield Error(
            "ONTRAPORT_RATE_LIMIT is not a pair of a whole and a positive number.",
            hint="Give (calls, seconds), such as (180, 60).",
            id="ontraport_connect.E006",
        )
    for name in (
        "ONTRAPORT_RATE_WAIT",
        "ONTRAPORT_REFRESH_MARGIN",
        "ONTRAPORT_LEEWAY",
        "ONTRAPORT_REFRESH_RATE",
        "ONTRAPORT_REFRESH_CONCURRENCY",
    ):
        if not _is_positive(_raw(name)):
            yield Error(
                f"{name} is not a positive number.",
                hint="See docs/settings.md for its unit.",
                id="ontraport_connect.E006",
            )


def _times() -> Iterator[CheckMessage]:
    yield from _time("ONTRAPORT_KEEP_EVENTS", 1, "days, such as 730, or a timedelta; None keeps events forever.")
    yield from _time("ONTRAPORT_IDLE_AFTER", 86_400, "seconds, such as 30 * 86400, or a timedelta; None: never idle.")


def _time(name: str, day: float, hint: str) -> Iterator[CheckMessage]:
    time: Any = getattr(settings, name, None)
    days = time / timedelta(days=1) if isinstance(time, timedelta) else time / day if _is_positive(time) else 0
    if time is not None and not 1 <= days <= MOST_DAYS:
        yield Error(
            f"{name} is not a time between one day and {MOST_DAYS} days.",
            hint=f"Give a number of {hint}",
            id="ontraport_connect.E006",
        )


def _monitoring_token() -> Iterator[CheckMessage]:
    token = _raw("ONTRAPORT_MONITORING_TOKEN")
    is_sent_as_it_is = isinstance(token, str) and token.isascii() and token.isprintable() and " " not in token
    if token is not None and not (is_sent_as_it_is and len(token) >= SHORTEST_TOKEN):
        yield Error(
            f"ONTRAPORT_MONITORING_TOKEN is not a string of {SHORTEST_TOKEN} characters or more, without spaces.",
            hint='Make one with: python -c "import secrets; print(secrets.token_urlsafe(24))".',
            id="ontraport_connect.E031",
        )


def _raw(name: str) -> Any:
    """Return a setting untyped, since its value has not been checked yet; ``None`` for what cannot be used."""
    try:
        return getattr(conf, name)
    except OntraportMisconfigured:
        return None


def _is_pair(value: object) -> bool:
    return isinstance(value, (tuple, list)) and len(value) == 2 and all(_is_positive(each) for each in value)


def _is_positive(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value > 0


def _lists() -> Iterator[CheckMessage]:
    for name in ("ONTRAPORT_SCOPES", "ONTRAPORT_MCP_TOOLS"):
        value = getattr(conf, name)
        if name == "ONTRAPORT_MCP_TOOLS" and value is None:
            continue
        is_list = isinstance(value, Sequence) and not isinstance(value, str)
        if not is_list or not all(isinstance(each, str) for each in value):
            yield Error(f"{name} is not a list of strings.", hint=f'Write {name} = ["…"].', id="ontraport_connect.E007")


CHECKS: Sequence[Callable[[], Iterator[CheckMessage]]] = (
    _endpoints,
    _addresses,
    _route,
    _client,
    _encryption_keys,
    _tenant,
    _may,
    _numbers,
    _times,
    _monitoring_token,
    _lists,
)
