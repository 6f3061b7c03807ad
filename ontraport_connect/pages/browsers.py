"""The cookie by which a browser is known in which an attempt to link was started."""

from __future__ import annotations

import re
import secrets
from contextlib import suppress
from typing import Any

from django.conf import settings
from django.contrib.auth.signals import user_logged_out
from django.db import DatabaseError, transaction
from django.dispatch import receiver
from django.http import HttpRequest, HttpResponse
from django.utils.crypto import salted_hmac

from ontraport_connect import linking
from ontraport_connect.database import alias

COOKIE = "ontraport_browser"
MAX_AGE = 3600
"""Seconds. Longer than an attempt lives, so that an answer which comes too late is known as such."""

VALUE = re.compile(r"[0-9a-f]{64}")


def browser_of(request: HttpRequest) -> str:
    """Return what the browser of this request is known by, or "" where it has started no attempt lately."""
    value = request.COOKIES.get(COOKIE, "")
    return value if VALUE.fullmatch(value) else ""


def browser_to_start(request: HttpRequest) -> str:
    """Return what the browser of this request is known by, or will be.

    A new value follows from the session cookie, which nobody else knows, so that the two requests of a double click agree on one.
    """
    session = request.COOKIES.get(settings.SESSION_COOKIE_NAME, "")
    new = salted_hmac(COOKIE, session, algorithm="sha256").hexdigest() if session else secrets.token_hex(32)
    return browser_of(request) or new


def remember(response: HttpResponse, browser: str) -> HttpResponse:
    """Give the cookie to the browser. It goes where the session cookie goes, and comes along from Ontraport (``SameSite=Lax``)."""
    response.set_cookie(
        COOKIE,
        browser,
        max_age=MAX_AGE,
        path=settings.SESSION_COOKIE_PATH,
        domain=settings.SESSION_COOKIE_DOMAIN,
        secure=settings.SESSION_COOKIE_SECURE,
        httponly=True,
        samesite="Lax",
    )
    return response


@receiver(user_logged_out)
def end_attempts(request: HttpRequest | None, user: Any, **kwargs: Any) -> None:
    """End what was started before the sign-out. A failure here must not keep anybody signed in."""
    browser = browser_of(request) if request is not None else ""
    if browser and user is not None:
        with suppress(DatabaseError), transaction.atomic(using=alias()):
            linking.forget_attempts(browser, str(user.pk))
