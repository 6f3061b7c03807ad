"""System checks: report a missing or wrong setting at start, with a hint, before a customer meets it.

The value of each setting by itself is checked in ``setting_checks``; here, whether the parts of the site fit together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from difflib import get_close_matches
from typing import Any

from django.conf import settings
from django.core import checks
from django.core.checks import CheckMessage, Error, Tags, register
from django.urls import NoReverseMatch, reverse

from . import pages, protocol, setting_checks, staff
from .conf import OntraportSettings, conf

MIDDLEWARE = pages.MIDDLEWARE
AUTHENTICATION = "django.contrib.auth.middleware.AuthenticationMiddleware"


@register(Tags.compatibility)
def check_settings(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """Run every check of the configuration. None uses the database or the network."""
    return [message for check in CHECKS for message in check()]


@register(Tags.security, deploy=True)
def check_deployment(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """Check what is fine in development but not in production."""
    messages: list[CheckMessage] = []
    if not conf.ONTRAPORT_ENCRYPTION_KEYS:
        messages.append(
            checks.Warning(
                "ONTRAPORT_ENCRYPTION_KEYS is empty, so tokens are encrypted under a key derived from SECRET_KEY.",
                hint="Set a key of its own, so that you can change SECRET_KEY freely; or keep every old SECRET_KEY in"
                " SECRET_KEY_FALLBACKS until `manage.py ontraport rotate-keys` has run.",
                id="ontraport_connect.W003",
            )
        )
    if not conf.ONTRAPORT_REDIRECT_URI:
        messages.append(
            checks.Warning(
                "ONTRAPORT_REDIRECT_URI is not set, so the callback's address is built from the request's Host header.",
                hint="Set it to the callback's absolute https URL, exactly as it is registered with Ontraport.",
                id="ontraport_connect.W004",
            )
        )
    return messages


def _sandbox() -> Iterator[CheckMessage]:
    if conf.sandbox_is_refused:
        yield Error(
            'ONTRAPORT_ENDPOINTS is "sandbox", which is for laptops, and DEBUG is off: nothing is sent, and nobody can connect.',
            hint="Leave ONTRAPORT_ENDPOINTS out, and set ONTRAPORT_CLIENT_ID and ONTRAPORT_CLIENT_SECRET.",
            id="ontraport_connect.E030",
        )


def _tenant_schemas() -> Iterator[CheckMessage]:
    """Look at the settings of django-tenants."""
    types: dict[str, Any] = getattr(settings, "TENANT_TYPES", {})
    public = getattr(settings, "PUBLIC_SCHEMA_NAME", "public")
    lists = [getattr(settings, "TENANT_APPS", ()), *(types[name].get("APPS", ()) for name in types if name != public)]
    if any(name.partition(".")[0] == "ontraport_connect" for apps in lists for name in apps):
        yield Error(
            "ontraport_connect is in a schema for each tenant, and beat and workers look for due tokens in one schema: no link is kept"
            " alive.",
            hint="Move it from TENANT_APPS to SHARED_APPS, and set ONTRAPORT_TENANT to a function that returns connection.schema_name.",
            id="ontraport_connect.E034",
        )


def _middleware() -> Iterator[CheckMessage]:
    installed = list(settings.MIDDLEWARE)
    if MIDDLEWARE not in installed:
        yield checks.Warning(
            "The middleware is not installed, so there is no request.ontraport, no button and no @ontraport_required.",
            hint=f'Add "{MIDDLEWARE}" to MIDDLEWARE, after AuthenticationMiddleware.',
            id="ontraport_connect.W001",
        )
    elif AUTHENTICATION in installed and installed.index(MIDDLEWARE) < installed.index(AUTHENTICATION):
        yield Error(
            "OntraportMiddleware comes before AuthenticationMiddleware, so it takes everybody for signed out.",
            hint="Move it after AuthenticationMiddleware.",
            id="ontraport_connect.E008",
        )


def _urls() -> Iterator[CheckMessage]:
    try:
        reverse("ontraport_connect:callback")
    except NoReverseMatch:
        yield checks.Warning(
            "The URLs are not installed, so nobody can connect.",
            hint='Add path("ontraport/", include("ontraport_connect.urls")) to your urls.py.',
            id="ontraport_connect.W002",
        )


def _extras() -> Iterator[CheckMessage]:
    if conf.ONTRAPORT_MCP_TOOLS and not protocol.is_mcp_installed():
        yield checks.Warning(
            "ONTRAPORT_MCP_TOOLS names tools, but the MCP SDK is not installed.",
            hint="pip install 'django-ontraport-connect[mcp]'",
            id="ontraport_connect.W005",
        )


def _notices() -> Iterator[CheckMessage]:
    if (conf.ONTRAPORT_NOTIFY or conf.ONTRAPORT_NOTIFY_CHANGES) and not conf.ONTRAPORT_REDIRECT_URI:
        yield checks.Warning(
            "Emails are on (ONTRAPORT_NOTIFY, ONTRAPORT_NOTIFY_CHANGES) without ONTRAPORT_REDIRECT_URI, so nobody is told: emails are sent"
            " outside of requests, where this site's address is not known.",
            hint="Set ONTRAPORT_REDIRECT_URI to the callback's absolute URL; the link in the email leads to the same host.",
            id="ontraport_connect.W006",
        )


def _unknown() -> Iterator[CheckMessage]:
    """A setting under a wrong name is not read, and what it was to restrict is open."""
    known = [name for name in vars(OntraportSettings) if name.startswith("ONTRAPORT_")]
    for name in dir(settings):
        close = get_close_matches(name, known, n=1, cutoff=0.9)
        if name.startswith("ONTRAPORT_") and name not in known and close:
            yield checks.Warning(
                f"There is no setting {name}, so nothing reads it.",
                hint=f"Did you mean {close[0]}? Where {name} is a setting of your own, put this check into SILENCED_SYSTEM_CHECKS.",
                id="ontraport_connect.W022",
            )


def _beat_entry() -> Iterator[CheckMessage]:
    schedulers = [getattr(settings, name) for name in dir(settings) if name.endswith("BEAT_SCHEDULER")]
    has_schedule = any(name.endswith("BEAT_SCHEDULE") for name in dir(settings))  # also that which was only imported
    if has_schedule and not schedulers and not staff.has_beat_entry():
        yield checks.Warning(
            "Celery's beat schedule has no entry for this app, so no token is refreshed before it expires.",
            hint="Add it: CELERY_BEAT_SCHEDULE = {**BEAT_SCHEDULE, ...}, from ontraport_connect.schedule. Where cron runs `manage.py"
            " ontraport refresh --all` instead, put this check into SILENCED_SYSTEM_CHECKS.",
            id="ontraport_connect.W020",
        )


CHECKS: Sequence[Callable[[], Iterator[CheckMessage]]] = (
    *setting_checks.CHECKS,
    pages.check_redirect_uri,
    pages.check_form_action,
    pages.check_templates,
    staff.check_routers,
    _sandbox,
    _tenant_schemas,
    _middleware,
    _urls,
    _extras,
    _notices,
    _unknown,
    _beat_entry,
)
