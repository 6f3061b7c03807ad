"""The settings, typed, each with its default."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import cast
from uuid import UUID

from django.conf import settings
from django.http import HttpRequest
from django.utils.module_loading import import_string

from .exceptions import OntraportMisconfigured
from .values import choice, duration, flag, given, numbers, text, texts, unfit

SANDBOX_CLIENT = ("sandbox-client", "sandbox-secret")
"""The client that the stand-in knows, with its secret, which is published."""

MayFunction = Callable[[HttpRequest, str | None, str], object]


class OntraportSettings:
    """Reads ``django.conf.settings`` at every access, so that ``override_settings`` works."""

    @property
    def ONTRAPORT_CLIENT_ID(self) -> str | None:
        return text("ONTRAPORT_CLIENT_ID", None) or (SANDBOX_CLIENT[0] if self.uses_sandbox else None)

    @property
    def ONTRAPORT_CLIENT_SECRET(self) -> str | None:
        given = text("ONTRAPORT_CLIENT_SECRET", None)
        is_ours = self.uses_sandbox and SANDBOX_CLIENT[0] == self.ONTRAPORT_CLIENT_ID
        return given or (SANDBOX_CLIENT[1] if is_ours else None)

    @property
    def ONTRAPORT_ENDPOINTS(self) -> str | Mapping[str, str | None]:
        return choice("ONTRAPORT_ENDPOINTS", "ontraport")

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
        return _text("ONTRAPORT_SANDBOX_URL", "http://127.0.0.1:8001").rstrip("/")

    @property
    def ONTRAPORT_SANDBOX_INTERNAL_URL(self) -> str:
        """Where this site reaches the stand-in: the same address, unless they are in containers of their own."""
        return _text("ONTRAPORT_SANDBOX_INTERNAL_URL", self.ONTRAPORT_SANDBOX_URL).rstrip("/")

    @property
    def ONTRAPORT_SCOPES(self) -> Sequence[str]:
        return texts("ONTRAPORT_SCOPES", ["mcp:tools"]) or []

    @property
    def ONTRAPORT_RESOURCE(self) -> str | None:
        if self.uses_sandbox:
            return self.sandbox_urls()[0]
        return text("ONTRAPORT_RESOURCE", "https://mcp.ontraport.com", is_optional=True)

    @property
    def ONTRAPORT_REST_URL(self) -> str:
        if self.uses_sandbox:
            return f"{self.sandbox_urls()[1]}/1/"
        return _text("ONTRAPORT_REST_URL", "https://api.ontraport.com/1/")

    @property
    def ONTRAPORT_MCP_URL(self) -> str:
        if self.uses_sandbox:
            return f"{self.sandbox_urls()[1]}/"
        return _text("ONTRAPORT_MCP_URL", "https://mcp.ontraport.com")

    @property
    def ONTRAPORT_REDIRECT_URI(self) -> str | None:
        return text("ONTRAPORT_REDIRECT_URI", None)

    @property
    def ONTRAPORT_MCP_TOOLS(self) -> Sequence[str] | None:
        return texts("ONTRAPORT_MCP_TOOLS", None)

    @property
    def ONTRAPORT_ENCRYPTION_KEYS(self) -> Sequence[str]:
        return cast("Sequence[str]", given("ONTRAPORT_ENCRYPTION_KEYS", []))

    @property
    def ONTRAPORT_TENANT(self) -> str | None:
        return text("ONTRAPORT_TENANT", None)

    @property
    def ONTRAPORT_MAY(self) -> str | MayFunction | None:
        """``f(request, tenant, action) -> bool``, given as such or as its dotted path; see ``may_function``."""
        return cast("str | MayFunction | None", given("ONTRAPORT_MAY", None)) or None

    @property
    def ONTRAPORT_REFRESH_MARGIN(self) -> float:
        """Seconds."""
        return cast("float", numbers("ONTRAPORT_REFRESH_MARGIN", 600))

    @property
    def ONTRAPORT_IDLE_AFTER(self) -> timedelta | None:
        """How long a link is not used until it is refreshed daily only; ``None``: never. A number is in seconds."""
        after = duration("ONTRAPORT_IDLE_AFTER", None)
        return after if after is None or isinstance(after, timedelta) else timedelta(seconds=after)

    @property
    def ONTRAPORT_REFRESH_RATE(self) -> float:
        """Refreshes per second that the beat task enqueues at most, over all accounts of the site."""
        return cast("float", numbers("ONTRAPORT_REFRESH_RATE", 100, is_positive=True))

    @property
    def ONTRAPORT_REFRESH_CONCURRENCY(self) -> int:
        """Concurrent calls within one ``refresh_accounts`` task."""
        return int(numbers("ONTRAPORT_REFRESH_CONCURRENCY", 32))

    @property
    def ONTRAPORT_LEEWAY(self) -> float:
        """Seconds."""
        return cast("float", numbers("ONTRAPORT_LEEWAY", 60))

    @property
    def ONTRAPORT_TIMEOUT(self) -> tuple[float, float]:
        """Seconds to connect, and seconds to the last byte of the answer."""
        return cast("tuple[float, float]", numbers("ONTRAPORT_TIMEOUT", 3.05, 10, is_positive=True))

    @property
    def ONTRAPORT_CA_BUNDLE(self) -> str | None:
        """The path of a PEM file with the CAs that are trusted; ``None``: the public ones."""
        return text("ONTRAPORT_CA_BUNDLE", None)

    @property
    def ONTRAPORT_PROXY(self) -> str | None:
        """The URL of the proxy that Ontraport is called through, if there is one."""
        return text("ONTRAPORT_PROXY", None)

    @property
    def ONTRAPORT_RATE_LIMIT(self) -> tuple[int, float]:
        """``(calls, seconds)``: so many calls to one Ontraport account, REST and MCP together, in so many seconds."""
        return cast("tuple[int, float]", numbers("ONTRAPORT_RATE_LIMIT", 180, 60, is_positive=True))

    @property
    def ONTRAPORT_RATE_WAIT(self) -> float:
        """Seconds that a call waits for the rate limiter before it gives up."""
        return cast("float", numbers("ONTRAPORT_RATE_WAIT", 90))

    @property
    def ONTRAPORT_REDIS_URL(self) -> str | None:
        """Where the rate limiter counts. ``None``: in the Redis of the cache or of Celery if there is one, else in the database."""
        return text("ONTRAPORT_REDIS_URL", None)

    @property
    def ONTRAPORT_INSTALLATION(self) -> str | None:
        """What tells this installation from others that may get a copy of its database; ``None``: the database server's identity."""
        return text("ONTRAPORT_INSTALLATION", None)

    @property
    def ONTRAPORT_NOTIFY(self) -> bool:
        """Whether the person who made a link gets an e-mail when it needs them."""
        return flag("ONTRAPORT_NOTIFY", default=False)

    @property
    def ONTRAPORT_NOTIFY_CHANGES(self) -> bool:
        """Whether people get an e-mail when a link is made or removed. Without a setting of its own: where ``ONTRAPORT_NOTIFY`` is on."""
        return flag("ONTRAPORT_NOTIFY_CHANGES", self.ONTRAPORT_NOTIFY)

    @property
    def ONTRAPORT_SITE_NAME(self) -> str:
        """What pages and e-mails call this site; empty: its host."""
        return _text("ONTRAPORT_SITE_NAME", "")

    @property
    def ONTRAPORT_MONITORING_TOKEN(self) -> str | None:
        """The bearer token of the URLs ``health`` and ``metrics``; ``None``: they answer 404."""
        return text("ONTRAPORT_MONITORING_TOKEN", None)

    @property
    def ONTRAPORT_KEEP_EVENTS(self) -> float | timedelta | None:
        """How long events are kept: a number of days, or a ``timedelta``; ``None``: for ever."""
        return cast("float | timedelta | None", duration("ONTRAPORT_KEEP_EVENTS", 730))

    @property
    def ONTRAPORT_AFTER_LINK_URL(self) -> str | None:
        return text("ONTRAPORT_AFTER_LINK_URL", None)


def _text(name: str, default: str) -> str:
    return text(name, default) or default


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
    try:
        resolve = cast("Callable[[HttpRequest], object]", import_string(conf.ONTRAPORT_TENANT))
    except ImportError as error:
        raise unfit("ONTRAPORT_TENANT", "the dotted path of a function") from error
    tenant = resolve(request)
    if tenant is None or tenant is False:
        return ""
    if isinstance(tenant, bool) or not isinstance(tenant, str | int | UUID):
        raise OntraportMisconfigured(
            f"ONTRAPORT_TENANT gave a {type(tenant).__name__}; give the tenant's id: a str, an int or a UUID."
        )
    return str(tenant)
