"""The tests' site with the production settings of cookiecutter-django: ``DJANGO_SETTINGS_MODULE=tests.settings_cookiecutter``.

The proxy that ends TLS, and the collected static files, are part of it.
"""

import atexit
import os
import shutil
import tempfile
from collections.abc import Callable
from typing import Any

import sentry_sdk
from django.http import HttpRequest
from sentry_sdk.envelope import Envelope
from sentry_sdk.integrations.celery import CeleryIntegration
from sentry_sdk.integrations.django import DjangoIntegration
from sentry_sdk.integrations.logging import LoggingIntegration
from sentry_sdk.transport import Transport

from tests.settings import *  # noqa: F403
from tests.settings import MIDDLEWARE as PLAIN_MIDDLEWARE


class TLSProxy:
    """What stands in front of the site: it ends TLS, says so, and adds a strict content security policy."""

    def __init__(self, get_response: Callable[[HttpRequest], Any]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> Any:
        request.META.setdefault("HTTP_X_FORWARDED_PROTO", "https")
        response = self.get_response(request)
        response.headers.setdefault(
            "Content-Security-Policy",
            "default-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'self'; object-src 'none'",
        )
        return response


class Nowhere(Transport):
    """Sentry's way out, which ends here."""

    def capture_envelope(self, envelope: Envelope) -> None:
        pass


MIDDLEWARE = [f"{__name__}.TLSProxy", *PLAIN_MIDDLEWARE]
MIDDLEWARE.insert(
    MIDDLEWARE.index("django.middleware.common.CommonMiddleware"), "django.middleware.locale.LocaleMiddleware"
)

for entry in globals()["DATABASES"].values():
    entry.setdefault("ATOMIC_REQUESTS", True)
    if "TEST_SETTINGS" not in os.environ:
        entry["CONN_MAX_AGE"] = 60

CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
SESSION_ENGINE = "django.contrib.sessions.backends.cached_db"

SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
SECURE_SSL_REDIRECT = True
SESSION_COOKIE_SECURE = True
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_NAME = "__Secure-sessionid"
CSRF_COOKIE_SECURE = True
CSRF_COOKIE_HTTPONLY = True
CSRF_COOKIE_NAME = "__Secure-csrftoken"
SECURE_HSTS_SECONDS = 518400
SECURE_HSTS_INCLUDE_SUBDOMAINS = True
SECURE_HSTS_PRELOAD = True
SECURE_CONTENT_TYPE_NOSNIFF = True
X_FRAME_OPTIONS = "DENY"

# A child process names static files by what the tests have collected.
if "COLLECTED_FILES" not in os.environ:
    os.environ["COLLECTED_FILES"] = tempfile.mkdtemp(prefix="static-")
    atexit.register(shutil.rmtree, os.environ["COLLECTED_FILES"], ignore_errors=True)
STATIC_ROOT = os.environ["COLLECTED_FILES"]
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.ManifestStaticFilesStorage"},
}

LOGGING = {
    "version": 1,
    "disable_existing_loggers": True,
    "formatters": {
        "verbose": {"format": "%(levelname)s %(asctime)s %(module)s %(process)d %(thread)d %(message)s"},
    },
    "handlers": {"console": {"level": "DEBUG", "class": "logging.StreamHandler", "formatter": "verbose"}},
    "root": {"level": "INFO", "handlers": ["console"]},
    "loggers": {
        "django.db.backends": {"level": "ERROR", "handlers": ["console"], "propagate": False},
        "sentry_sdk": {"level": "ERROR", "handlers": ["console"], "propagate": False},
        "django.security.DisallowedHost": {"level": "ERROR", "handlers": ["console"], "propagate": False},
    },
}

sentry_sdk.init(
    dsn="https://public@sentry.example/1",
    transport=Nowhere,
    integrations=[
        LoggingIntegration(level=20, event_level=40),
        DjangoIntegration(),
        CeleryIntegration(),
    ],
    environment="production",
    traces_sample_rate=1.0,
)
