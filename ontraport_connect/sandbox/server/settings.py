"""Settings of the stand-in's server. ``process`` sets the environment variables before it starts Django."""

import os
from pathlib import Path

from .world import access_token_lifetime

PACKAGE = __name__.rpartition(".")[0]

# The stand-in protects nothing: every secret in here is published.
SECRET_KEY = "the-sandbox-keeps-no-secrets-and-this-key-is-not-one"  # noqa: S105
# Or else any website that a developer visits could read the log, under a name that leads to 127.0.0.1 for a moment (DNS rebinding).
ALLOWED_HOSTS = ["127.0.0.1", "[::1]", "localhost", ".localhost", *os.environ.get("SANDBOX_HOSTS", "").split()]
DEBUG = False
USE_TZ = True
TIME_ZONE = "UTC"

INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "oauth2_provider",
    PACKAGE,
]
MIDDLEWARE = [
    "django.middleware.common.CommonMiddleware",  # sets Content-Length; without it no connection is kept alive
    f"{PACKAGE}.observing.observe",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
]
ROOT_URLCONF = f"{PACKAGE}.urls"
APPEND_SLASH = False
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [Path(__file__).parent / "templates"],
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
            ]
        },
    }
]
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": os.environ.get("SANDBOX_DATABASE", "sandbox.sqlite3"),
        "CONN_MAX_AGE": None,
        "OPTIONS": {
            "timeout": 20,
            "transaction_mode": "IMMEDIATE",
            "init_command": "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;",
        },
    }
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
# The passwords are published, so key stretching would only cost half a second.
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]

# Cookies are shared by all ports of a host, and the site under development is on the same host.
SESSION_COOKIE_NAME = "sandbox_session"
CSRF_COOKIE_NAME = "sandbox_csrf"
LOGIN_URL = "/login"
LOGIN_REDIRECT_URL = "/"
LOGOUT_REDIRECT_URL = "/"

OAUTH2_PROVIDER = {
    "SCOPES": {"mcp:tools": "Use every tool of the Ontraport MCP server in your name"},
    "OAUTH2_VALIDATOR_CLASS": f"{PACKAGE}.validator.SandboxValidator",
    "EXTRA_SERVER_KWARGS": {"token_expires_in": access_token_lifetime},
    "PKCE_REQUIRED": True,
    "COMPLIANT_BCP_RFC9700_PKCE_METHOD": True,
    "ROTATE_REFRESH_TOKEN": True,
    "REFRESH_TOKEN_REUSE_PROTECTION": True,
    "REFRESH_TOKEN_GRACE_PERIOD_SECONDS": 0,
    "ALLOW_LOCALHOST_LOOPBACK": True,
    "DCR_ENABLED": True,
    "DCR_REGISTRATION_PERMISSION_CLASSES": ["oauth2_provider.dcr.AllowAllDCRPermission"],
    "CIMD_ENABLED": True,
    "CIMD_METADATA_FETCHER": f"{PACKAGE}.validator.LoopbackMetadataFetcher",
}

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    # Log exceptions of the stand-in, but not a 500 that the control page asked for.
    "filters": {"exceptions": {"()": "django.utils.log.CallbackFilter", "callback": lambda record: record.exc_info}},
    "handlers": {
        "console": {"class": "logging.StreamHandler", "filters": ["exceptions"]},
        "nowhere": {"class": "logging.NullHandler"},
    },
    "root": {"handlers": ["console"], "level": "ERROR"},
    "loggers": {
        "django": {"handlers": ["console"], "level": "ERROR", "propagate": False},
        "django.security.DisallowedHost": {"handlers": ["nowhere"], "propagate": False},  # the answer says what to do
    },
}
