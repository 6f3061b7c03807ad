"""What is wrong with a redirect URI: its form, and where its path leads. Looked at by the system checks, and before anybody is sent off."""

from __future__ import annotations

from urllib.parse import unquote, urlsplit

from django.conf import settings
from django.http import Http404
from django.urls import get_script_prefix, resolve
from django.utils import translation

from ontraport_connect.exceptions import OntraportMisconfigured
from ontraport_connect.protocol import require_secure

WRONG_PATH = "ontraport_connect.E010"
"""The check that is silenced where the callback's host has a URLconf of its own."""


def require_sound(uri: str, *, has_own_urlconf: bool) -> None:
    """Raise ``OntraportMisconfigured`` if ``ONTRAPORT_REDIRECT_URI`` is a URL from which nobody could come back.

    Where a request has a URLconf of its own (``has_own_urlconf``), nobody knows which pages the callback's host has.
    """
    try:
        require_secure(uri)
    except OntraportMisconfigured as error:
        raise OntraportMisconfigured(f"ONTRAPORT_REDIRECT_URI cannot be used: {error}", code=error.code) from None
    flaw = flaw_of(uri)
    if flaw:
        raise OntraportMisconfigured(f"ONTRAPORT_REDIRECT_URI has {flaw}.", code="redirect_uri")
    path = path_of(uri)
    is_known = not has_own_urlconf and WRONG_PATH not in settings.SILENCED_SYSTEM_CHECKS
    if is_known and not leads_to_callback(path) and below_a_mount_point(path) is None:
        raise OntraportMisconfigured(
            f"The path of ONTRAPORT_REDIRECT_URI, {path}, is not that of the callback.", code="redirect_uri"
        )


def flaw_of(uri: str) -> str:
    """Return in words what does not belong into a redirect URI, or ""."""
    parts = urlsplit(uri)
    flaws = {
        "blanks or control characters in it": not uri.isprintable() or " " in uri,
        "a user name or password": "@" in parts.netloc,
        "a fragment": "#" in uri,
        "a query": "?" in uri,
    }
    return next((words for words, is_there in flaws.items() if is_there), "")


def path_of(uri: str) -> str:
    return unquote(urlsplit(uri).path) or "/"


def below_a_mount_point(path: str) -> str | None:
    """Return the end of ``path`` that leads to the callback, if the site does not say where it is mounted."""
    if get_script_prefix() != "/":
        return None
    ends = (path[at:] for at, character in enumerate(path) if character == "/")
    return next(filter(leads_to_callback, ends), None)


def leads_to_callback(path: str) -> bool:
    """Tell whether the path is the callback's in one of the site's languages."""
    prefix = get_script_prefix()
    if not path.startswith(prefix):
        return False
    return any(_is_callback(f"/{path.removeprefix(prefix)}", code) for code, _name in settings.LANGUAGES)


def _is_callback(path_info: str, language: str) -> bool:
    with translation.override(language):
        try:
            match = resolve(path_info)
        except Http404:
            return False
    return match.url_name == "callback" and match.app_names[-1:] == ["ontraport_connect"]
