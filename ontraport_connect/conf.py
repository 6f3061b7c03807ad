"""The settings, typed, each with its default."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any, cast
from uuid import UUID

from django.conf import settings
from django.http import HttpRequest
from django.utils.module_loading import import_string

from .exceptions import OntraportMisconfigured

SANDBOX_CLIENT = ("sandbox-client", "sandbox-secret")
"""The client that the stand-in knows, with its secret, which is published."""

UNUSABLE = "settings"
"""The code of an ``OntraportMisconfigured`` for a setting of a wrong type."""

MayFunction = Callable[[HttpRequest, str | None, str], object]


class OntraportSettings:
    """Reads ``django.conf.settings`` at every access, so that ``override_settings`` works."""

    @property
    def ONTRAPORT_CLIENT_ID(self) -> str | None:
        given = cast("str | None", getattr(settings, "ONTRAPORT_CLIENT_ID", None)) or None
        return given or (SANDBOX_CLIENT[0] if self.uses_sandbox else None)

    @property
    def ONTRAPORT_CLIENT_SECRET(self) -> str | None:
        given = cast("str | None", getattr(settings, "ONTRAPORT_CLIENT_SECRET", None)) or None
        is_ours = self.uses_sandbox and SANDBOX_CLIENT[0] == self.ONTRAPORT_CLIENT_ID
        return given or (SANDBOX_CLIENT[1] if is_ours else None)

    @property
    def ONTRAPORT_ENDPOINTS(self) -> str | Mapping[str, str | None]:
        return cast("str | Mapping[str, str | None]", getattr(settings, "ONTRAPORT_ENDPOINTS", "ontraport"))

    @property
    def uses_sandbox(self) -> bool:
        """Whether the stand-in takes Ontraport's place. Then every address is the stand-in's, whatever the other settings say."""
        return self.ONTRAPORT_ENDPOINTS == "sandbox"

    @property
    def sandbox_is_refused(self) -> bool:
        """Whether the stand-in is named on a site that is no laptop: ``DEBUG`` is off, and this is no test run, in which it always is."""
        return self.uses_sandbox and not settings.DEBUG and not is_test_run()

    def sandbox_urls(self) -> tuple[str, str]:
        """Return the stand-in's addresses for browsers and for this site. Every address that anything is sent to comes from here.

        Raises ``OntraportMisconfigured`` (code ``sandbox``) where ``sandbox_is_refused``: no credentials of a customer go there.
        """
        if self.sandbox_is_refused:
            raise OntraportMisconfigured(
                'ONTRAPORT_ENDPOINTS is "sandbox", which is for laptops, and DEBUG is off. Nothing was sent.',
                code="sandbox",
            )
        return self.ONTRAPORT_SANDBOX_URL, self.ONTRAPORT_SANDBOX_INTERNAL_URL

    @property
    def ONTRAPORT_SANDBOX_URL(self) -> str:
        """Where browsers reach the stand-in."""
        return cast("str", getattr(settings, "ONTRAPORT_SANDBOX_URL", "http://127.0.0.1:8001")).rstrip("/")

    @property
    def ONTRAPORT_SANDBOX_INTERNAL_URL(self) -> str:
        """Where this site reaches the stand-in: the same address, unless they are in containers of their own."""
        given = cast("str | None", getattr(settings, "ONTRAPORT_SANDBOX_INTERNAL_URL", None))
        return (given or self.ONTRAPORT_SANDBOX_URL).rstrip("/")

    @property
    def ONTRAPORT_SCOPES(self) -> Sequence[str]:
        return cast("Sequence[str]", getattr(settings, "ONTRAPORT_SCOPES", ["mcp:tools"]))

    @property
    def ONTRAPORT_RESOURCE(self) -> str | None:
        if self.uses_sandbox:
            return self.sandbox_urls()[0]
        return cast("str | None", getattr(settings, "ONTRAPORT_RESOURCE", "https://mcp.ontraport.com"))

    @property
    def ONTRAPORT_REST_URL(self) -> str:
        if self.uses_sandbox:
            return f"{self.sandbox_urls()[1]}/1/"
        return cast("str", getattr(settings, "ONTRAPORT_REST_URL", "https://api.ontraport.com/1/"))

    @property
    def ONTRAPORT_MCP_URL(self) -> str:
        if self.uses_sandbox:
            return f"{self.sandbox_urls()[1]}/"
        return cast("str", getattr(settings, "ONTRAPORT_MCP_URL", "https://mcp.ontraport.com"))

    @property
    def ONTRAPORT_REDIRECT_URI(self) -> str | None:
        return cast("str | None", getattr(settings, "ONTRAPORT_REDIRECT_URI", None)) or None

    @property
    def ONTRAPORT_MCP_TOOLS(self) -> Sequence[str] | None:
        return cast("Sequence[str] | None", getattr(settings, "ONTRAPORT_MCP_TOOLS", None))

    @property
    def ONTRAPORT_ENCRYPTION_KEYS(self) -> Sequence[str]:
        return cast("Sequence[str]", getattr(settings, "ONTRAPORT_ENCRYPTION_KEYS", []))

    @property
    def ONTRAPORT_TENANT(self) -> str | None:
        return cast("str | None", getattr(settings, "ONTRAPORT_TENANT", None)) or None

    @property
    def ONTRAPORT_MAY(self) -> str | MayFunction | None:
        """``f(request, tenant, action) -> bool``, given as such or as its dotted path; see ``may_function``."""
        return cast("str | MayFunction | None", getattr(settings, "ONTRAPORT_MAY", None)) or None

    @property
    def ONTRAPORT_REFRESH_MARGIN(self) -> float:
        """Seconds."""
        return cast("float", _numbers("ONTRAPORT_REFRESH_MARGIN", 600))

    @property
    def ONTRAPORT_IDLE_AFTER(self) -> timedelta | None:
        """How long a link is not used until it is refreshed daily only; ``None``: never. A number is in seconds."""
        after = getattr(settings, "ONTRAPORT_IDLE_AFTER", None)
        is_number = after is not None and not isinstance(after, timedelta)
        return timedelta(seconds=_numbers("ONTRAPORT_IDLE_AFTER", 0)) if is_number else after

    @property
    def ONTRAPORT_REFRESH_RATE(self) -> float:
        """Refreshes per second that the beat task enqueues at most, over all accounts of the site."""
        return cast("float", _numbers("ONTRAPORT_REFRESH_RATE", 100))

    @property
    def ONTRAPORT_REFRESH_CONCURRENCY(self) -> int:
        """Concurrent calls within one ``refresh_accounts`` task."""
        return int(_numbers("ONTRAPORT_REFRESH_CONCURRENCY", 32))

    @property
    def ONTRAPORT_LEEWAY(self) -> float:
        """Seconds."""
        return cast("float", _numbers("ONTRAPORT_LEEWAY", 60))

    @property
    def ONTRAPORT_TIMEOUT(self) -> tuple[float, float]:
        """Seconds to connect, and seconds to the last byte of the answer."""
        return cast("tuple[float, float]", _numbers("ONTRAPORT_TIMEOUT", 3.05, 10))

    @property
    def ONTRAPORT_CA_BUNDLE(self) -> str | None:
        """The path of a PEM file with the CAs that are trusted; ``None``: the public ones."""
        bundle = getattr(settings, "ONTRAPORT_CA_BUNDLE", None)
        return str(bundle) if bundle else None

    @property
    def ONTRAPORT_PROXY(self) -> str | None:
        """The URL of the proxy that Ontraport is called through, if there is one."""
        return cast("str | None", getattr(settings, "ONTRAPORT_PROXY", None)) or None

    @property
    def ONTRAPORT_RATE_LIMIT(self) -> tuple[int, float]:
        """``(calls, seconds)``: so many calls to one Ontraport account, REST and MCP together, in so many seconds."""
        return cast("tuple[int, float]", _numbers("ONTRAPORT_RATE_LIMIT", 180, 60))

    @property
    def ONTRAPORT_RATE_WAIT(self) -> float:
        """Seconds that a call waits for the rate limiter before it gives up."""
        return cast("float", _numbers("ONTRAPORT_RATE_WAIT", 90))

    @property
    def ONTRAPORT_REDIS_URL(self) -> str | None:
        """Where the rate limiter counts. ``None``: in the Redis of the cache or of Celery if there is one, else in the database."""
        return cast("str | None", getattr(settings, "ONTRAPORT_REDIS_URL", None)) or None

    @property
    def ONTRAPORT_INSTALLATION(self) -> str | None:
        """What tells this installation from others that may get a copy of its database; ``None``: the database server's identity."""
        return cast("str | None", getattr(settings, "ONTRAPORT_INSTALLATION", None)) or None

    @property
    def ONTRAPORT_NOTIFY(self) -> bool:
        """Whether the person who made a link gets an e-mail when it needs them."""
        return cast("bool", getattr(settings, "ONTRAPORT_NOTIFY", False))

    @property
    def ONTRAPORT_NOTIFY_CHANGES(self) -> bool:
        """Whether people get an e-mail when a link is made or removed. Without a setting of its own: where ``ONTRAPORT_NOTIFY`` is on."""
        return cast("bool", getattr(settings, "ONTRAPORT_NOTIFY_CHANGES", self.ONTRAPORT_NOTIFY))

    @property
    def ONTRAPORT_SITE_NAME(self) -> str:
        """What pages and e-mails call this site; empty: its host."""
        return str(getattr(settings, "ONTRAPORT_SITE_NAME", None) or "")

    @property
    def ONTRAPORT_MONITORING_TOKEN(self) -> str | None:
        """The bearer token of the URLs ``health`` and ``metrics``; ``None``: they answer 404."""
        return cast("str | None", getattr(settings, "ONTRAPORT_MONITORING_TOKEN", None)) or None

    @property
    def ONTRAPORT_KEEP_EVENTS(self) -> float | timedelta | None:
        """How long events are kept: a number of days, or a ``timedelta``; ``None``: for ever."""
        keep = getattr(settings, "ONTRAPORT_KEEP_EVENTS", 730)
        return keep if keep is None or isinstance(keep, timedelta) else _numbers("ONTRAPORT_KEEP_EVENTS", 730)

    @property
    def ONTRAPORT_AFTER_LINK_URL(self) -> str | None:
        return cast("str | None", getattr(settings, "ONTRAPORT_AFTER_LINK_URL", None)) or None


def _numbers(name: str, *defaults: float) -> Any:
    """Return a setting that is a number, or a tuple of as many as there are defaults. Raises ``OntraportMisconfigured``."""
    value, is_pair = getattr(settings, name, defaults), len(defaults) > 1
    numbers = tuple(value) if isinstance(value, (tuple, list)) else (value,)
    are_numbers = all(isinstance(each, (int, float)) and not isinstance(each, bool) for each in numbers)
    if len(numbers) != len(defaults) or not are_numbers or (is_pair and not all(each > 0 for each in numbers)):
        kind = "a pair of positive numbers" if is_pair else "a number"
        raise OntraportMisconfigured(f"{name} is not {kind}. `manage.py check` says more.", code=UNUSABLE)
    return numbers if is_pair else numbers[0]


conf = OntraportSettings()


def is_test_run() -> bool:
    """Tell whether ``setup_test_environment`` is in force, as under ``manage.py test`` and pytest-django. No setting leads to it."""
    state = getattr(sys.modules.get("django.test.utils"), "_TestState", None)
    return hasattr(state, "saved_data")


def tenant_of(request: HttpRequest) -> str | None:
    """Return the id of the tenant that owns the links of this request, or ``None`` when links belong to users.

    An empty string means that the site uses tenants and this request has none; it sees no account. Raises ``OntraportMisconfigured``
    when ``ONTRAPORT_TENANT`` returns something other than an id: the text of an object, such as its name, need not be unique.
    """
    if conf.ONTRAPORT_TENANT is None:
        return None
    resolve = cast("Callable[[HttpRequest], object]", import_string(conf.ONTRAPORT_TENANT))
    tenant = resolve(request)
    if tenant is None or tenant is False:
        return ""
    if isinstance(tenant, bool) or not isinstance(tenant, str | int | UUID):
        raise OntraportMisconfigured(
            f"ONTRAPORT_TENANT gave a {type(tenant).__name__}; give the tenant's id: a str, an int or a UUID."
        )
    return str(tenant)
