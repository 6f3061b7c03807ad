"""System checks of what surrounds the pages: the redirect URI, the site's templates, and its Content-Security-Policy."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core import checks
from django.core.checks import CheckMessage
from django.template import TemplateDoesNotExist
from django.template.loader import get_template
from django.urls import NoReverseMatch, reverse

from ontraport_connect import protocol, refreshing
from ontraport_connect.conf import conf
from ontraport_connect.exceptions import OntraportMisconfigured

from . import redirect_uris

SELF = "'self'"


def check_redirect_uri() -> Iterator[CheckMessage]:
    """Check that ``ONTRAPORT_REDIRECT_URI`` is a plain URL which leads to the callback. Whether it is https is checked elsewhere."""
    uri = conf.ONTRAPORT_REDIRECT_URI
    try:
        protocol.require_secure(uri if isinstance(uri, str) else "")
    except OntraportMisconfigured:
        return
    flaw = redirect_uris.flaw_of(str(uri))
    if flaw:
        yield checks.Error(
            f"ONTRAPORT_REDIRECT_URI has {flaw}; it is sent to Ontraport as it is, and nobody could come back.",
            hint="Set it to the callback's plain URL, such as https://shop.example.com/ontraport/callback/.",
            id="ontraport_connect.E009",
        )
    else:
        yield from _check_path(redirect_uris.path_of(str(uri)))
        yield from _check_host(str(uri))


def _check_path(path: str) -> Iterator[CheckMessage]:
    try:
        expected = reverse("ontraport_connect:callback")
    except NoReverseMatch:  # there is a check of its own for that
        return
    if redirect_uris.leads_to_callback(path):
        return
    below = redirect_uris.below_a_mount_point(path)
    if below is None:
        yield checks.Error(
            f"The path of ONTRAPORT_REDIRECT_URI, {path}, is not that of the callback: people would come back to another page, or"
            " to none.",
            hint=f"By your urls.py the path is {expected}; compare it letter by letter, slashes included. (Silence this check if the"
            " host has a URLconf of its own.)",
            id=redirect_uris.WRONG_PATH,
        )
    else:
        yield checks.Warning(
            f"The path of ONTRAPORT_REDIRECT_URI, {path}, leads to the callback only where this site is mounted at"
            f" {path.removesuffix(below)}.",
            hint="If it is, set FORCE_SCRIPT_NAME to that, so that commands, workers and e-mails know it, too.",
            id="ontraport_connect.W007",
        )


def _check_host(uri: str) -> Iterator[CheckMessage]:
    host = urlsplit(uri).hostname or ""
    if settings.PREPEND_WWW and not host.startswith("www.") and conf.ONTRAPORT_CLIENT_ID is None:
        yield checks.Warning(
            f"PREPEND_WWW redirects {host} to www.{host}, and with it the client metadata document, by whose address Ontraport knows this"
            " site: Ontraport need not follow a redirect.",
            hint="Put www. in front of the host in ONTRAPORT_REDIRECT_URI, or set ONTRAPORT_CLIENT_ID.",
            id="ontraport_connect.W023",
        )


def check_templates() -> Iterator[CheckMessage]:
    """Check that an engine of ``TEMPLATES`` finds the templates of the pages, and that it escapes what they show."""
    try:
        reverse("ontraport_connect:accounts")
        template: Any = get_template("ontraport_connect/made_for.html")
    except NoReverseMatch:  # there is a check of its own for that
        return
    except TemplateDoesNotExist:
        yield checks.Error(
            "No entry of TEMPLATES finds the templates of this app, so its pages and its button are server errors.",
            hint='Let an entry of DjangoTemplates have "APP_DIRS": True, or "django.template.loaders.app_directories.Loader" among its'
            " loaders. Jinja2 cannot render these templates.",
            id="ontraport_connect.E036",
        )
        return
    engine = getattr(getattr(template, "backend", None), "engine", None)
    if not getattr(engine, "autoescape", True):
        yield checks.Error(
            f"The first entry of TEMPLATES that finds the templates of this app, {template.backend.name!r}, has autoescape off: whatever"
            " customers type would be run as HTML on its pages.",
            hint="Take autoescape out of its OPTIONS; or put it after an entry that escapes, and name it where you need it (using=).",
            id="ontraport_connect.E037",
        )


def check_form_action() -> Iterator[CheckMessage]:
    """Check ``form-action`` of the Content-Security-Policy that Django (6.0 or later) or django-csp is set to send."""
    try:
        url = refreshing.endpoints().authorization_endpoint
    except OntraportMisconfigured:  # there is a check of its own for that
        return
    for name, sources in _form_actions():
        if any(_allows(source, url) for source in sources):
            continue
        origin = "{0.scheme}://{0.netloc}".format(urlsplit(url))
        if SELF in sources:
            yield checks.Info(
                f"{name} allows forms to lead to this site only. In browsers that do not send Sec-Fetch-Mode (Safari before 16.4) the"
                " button that connects Ontraport does nothing.",
                hint=f"Add {origin} to form-action for their sake, or silence this check.",
                id="ontraport_connect.I001",
            )
        else:
            yield checks.Warning(
                f"{name} does not allow this site's own forms, so that browsers ignore the button that connects Ontraport.",
                hint=f"""Add "{SELF}" and {origin} to form-action.""",
                id="ontraport_connect.W008",
            )


def _form_actions() -> Iterator[tuple[str, list[str]]]:
    policies = {
        "SECURE_CSP": getattr(settings, "SECURE_CSP", None),
        "CONTENT_SECURITY_POLICY": _member(getattr(settings, "CONTENT_SECURITY_POLICY", None), "DIRECTIVES"),
        "CSP_FORM_ACTION": {"form-action": getattr(settings, "CSP_FORM_ACTION", None)},
    }
    for name, policy in policies.items():
        sources = _member(policy, "form-action")
        if sources is not None:
            yield name, sources.split() if isinstance(sources, str) else _texts(sources)


def _member(value: Any, key: str) -> Any:
    return value.get(key) if isinstance(value, Mapping) else None


def _texts(value: Any) -> list[str]:
    return [str(each) for each in value] if isinstance(value, Iterable) else []


def _allows(source: str, url: str) -> bool:
    """Tell whether a host or scheme source of a Content-Security-Policy allows ``url``. Paths are left aside."""
    parts = urlsplit(url)
    allowed = urlsplit(source if "://" in source else f"{parts.scheme}://{source}")
    pattern = f"{allowed.scheme}://{allowed.netloc}".lower()
    return source == f"{parts.scheme}:" or fnmatchcase(f"{parts.scheme}://{parts.netloc}", pattern)
