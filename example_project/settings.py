"""Settings of the example site. Each can be set in the environment (django-environ) or in `.env` beside manage.py.

`.env.example` explains each one. With ``DEBUG=True`` nothing else is needed.
"""

from pathlib import Path
from typing import Any

import environ
from django.core.exceptions import ImproperlyConfigured

from ontraport_connect.schedule import BEAT_SCHEDULE

BASE_DIR = Path(__file__).resolve().parent.parent

env = environ.Env()
ENV_FILE = env.str("ENV_FILE", default=str(BASE_DIR / ".env"))
if ENV_FILE and Path(ENV_FILE).is_file():
    env.read_env(ENV_FILE)


def endpoints(value: str) -> str | dict[str, Any]:
    """Parse the name of a preset, or a JSON object of endpoints."""
    return env.json("ONTRAPORT_ENDPOINTS") if value.startswith("{") else value


def seconds_pair(value: str) -> tuple[float, float]:
    """Parse ``"3.05,10"``: seconds to connect, and seconds between two bytes."""
    connect, read = value.split(",")
    return float(connect), float(read)


def rate(value: str) -> tuple[int, float]:
    """Parse ``"180,60"``: a number of calls, and the seconds in which they are allowed."""
    calls, seconds = value.split(",")
    return int(calls), float(seconds)


# The site
DEBUG = env.bool("DEBUG", default=False)
SECRET_KEY = env.str("SECRET_KEY", default="insecure-key-for-development-only" if DEBUG else "")
if not SECRET_KEY:
    raise ImproperlyConfigured(
        "Set SECRET_KEY, or DEBUG=True on a laptop. To have a file for all settings: cp .env.example .env"
    )
SECRET_KEY_FALLBACKS = env.list("SECRET_KEY_FALLBACKS", default=[])
ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", default=[])
CSRF_TRUSTED_ORIGINS = env.list("CSRF_TRUSTED_ORIGINS", default=[])

INSTALLED_APPS = [
    "example_project.backoffice",
    "ontraport_connect",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.humanize",
    "django.contrib.messages",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "example_project.backoffice.middleware.ContentSecurityPolicyMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "ontraport_connect.middleware.OntraportMiddleware",
    "example_project.backoffice.middleware.ProblemPageMiddleware",
]

ROOT_URLCONF = "example_project.urls"
WSGI_APPLICATION = "example_project.wsgi.application"
ASGI_APPLICATION = "example_project.asgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "example_project.backoffice.context.demo",
            ],
        },
    },
]

DATABASES = {"default": env.db("DATABASE_URL", default=f"sqlite:///{BASE_DIR / 'db.sqlite3'}")}
if DATABASES["default"]["ENGINE"] == "django.db.backends.sqlite3":
    # Site, worker and beat write to one file: they wait for each other instead of failing.
    DATABASES["default"]["OPTIONS"] = {
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
        "transaction_mode": "IMMEDIATE",
        "timeout": 20,
    }
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]
LOGIN_URL = "login"
LOGIN_REDIRECT_URL = "backoffice:dashboard"
LOGOUT_REDIRECT_URL = "backoffice:dashboard"

LANGUAGE_CODE = env.str("LANGUAGE_CODE", default="en")
TIME_ZONE = env.str("TIME_ZONE", default="UTC")
USE_TZ = True

STATIC_URL = "static/"
STATIC_ROOT = env.str("STATIC_ROOT", default=str(BASE_DIR / "staticfiles"))

# Security. Everything is on unless DEBUG says that this is a developer's machine.
# Cookies are shared by all ports of a host: our own names keep another site on this host from overwriting them.
SESSION_COOKIE_NAME = "backoffice_session"
CSRF_COOKIE_NAME = "backoffice_csrf"
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = env.bool("SECURE_COOKIES", default=not DEBUG)
SECURE_SSL_REDIRECT = env.bool("SECURE_SSL_REDIRECT", default=not DEBUG)
SECURE_HSTS_SECONDS = env.int("SECURE_HSTS_SECONDS", default=0 if DEBUG else 31_536_000)
SECURE_HSTS_INCLUDE_SUBDOMAINS = env.bool("SECURE_HSTS_INCLUDE_SUBDOMAINS", default=not DEBUG)
SECURE_HSTS_PRELOAD = env.bool("SECURE_HSTS_PRELOAD", default=not DEBUG)
if env.bool("BEHIND_TLS_PROXY", default=False):
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
X_FRAME_OPTIONS = "DENY"
# Browsers apply form-action also to the redirect after a form, so Ontraport's origin is listed here.
CONTENT_SECURITY_POLICY = {
    "default-src": ["'none'"],
    "base-uri": ["'none'"],
    "connect-src": ["'self'"],
    "font-src": ["'self'"],
    "form-action": ["'self'", *env.list("CSP_FORM_ACTION", default=["https://app.ontraport.com"])],
    "frame-ancestors": ["'none'"],
    "img-src": ["'self'", "data:"],
    "script-src": ["'self'"],
    "style-src": ["'self'"],
}

# Celery
CELERY_BROKER_URL = env.str("REDIS_URL", default="redis://127.0.0.1:6379/0")
CELERY_TASK_IGNORE_RESULT = True
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
BEAT_SECONDS = env.float("BEAT_SECONDS", default=0)
CELERY_BEAT_SCHEDULE = {
    name: {**entry, "schedule": BEAT_SECONDS or entry["schedule"]} for name, entry in BEAT_SCHEDULE.items()
}

# Ontraport
ONTRAPORT_CLIENT_ID = env.str("ONTRAPORT_CLIENT_ID", default="") or None
ONTRAPORT_CLIENT_SECRET = env.str("ONTRAPORT_CLIENT_SECRET", default="") or None
ONTRAPORT_ENDPOINTS = endpoints(env.str("ONTRAPORT_ENDPOINTS", default="ontraport"))
ONTRAPORT_SANDBOX_URL = env.str("ONTRAPORT_SANDBOX_URL", default="http://127.0.0.1:8001")
ONTRAPORT_SANDBOX_INTERNAL_URL = env.str("ONTRAPORT_SANDBOX_INTERNAL_URL", default="") or None
ONTRAPORT_SCOPES = env.list("ONTRAPORT_SCOPES", default=["mcp:tools"])
ONTRAPORT_RESOURCE = env.str("ONTRAPORT_RESOURCE", default="https://mcp.ontraport.com") or None
ONTRAPORT_REST_URL = env.str("ONTRAPORT_REST_URL", default="https://api.ontraport.com/1/")
ONTRAPORT_MCP_URL = env.str("ONTRAPORT_MCP_URL", default="https://mcp.ontraport.com")
ONTRAPORT_REDIRECT_URI = env.str("ONTRAPORT_REDIRECT_URI", default="") or None
ONTRAPORT_MCP_TOOLS = env.list("ONTRAPORT_MCP_TOOLS", default=["get_account_info", "get_objects"]) or None
ONTRAPORT_ENCRYPTION_KEYS = env.list("ONTRAPORT_ENCRYPTION_KEYS", default=[])
ONTRAPORT_TENANT = env.str("ONTRAPORT_TENANT", default="") or None
ONTRAPORT_MAY = env.str("ONTRAPORT_MAY", default="") or None
ONTRAPORT_REFRESH_MARGIN = env.int("ONTRAPORT_REFRESH_MARGIN", default=600)
ONTRAPORT_IDLE_AFTER = env.float("ONTRAPORT_IDLE_AFTER", default=0) or None
ONTRAPORT_REFRESH_RATE = env.float("ONTRAPORT_REFRESH_RATE", default=100)
ONTRAPORT_REFRESH_CONCURRENCY = env.int("ONTRAPORT_REFRESH_CONCURRENCY", default=32)
ONTRAPORT_LEEWAY = env.int("ONTRAPORT_LEEWAY", default=60)
ONTRAPORT_TIMEOUT = seconds_pair(env.str("ONTRAPORT_TIMEOUT", default="3.05,10"))
ONTRAPORT_CA_BUNDLE = env.str("ONTRAPORT_CA_BUNDLE", default="") or None
ONTRAPORT_PROXY = env.str("ONTRAPORT_PROXY", default="") or None
ONTRAPORT_RATE_LIMIT = rate(env.str("ONTRAPORT_RATE_LIMIT", default="180,60"))
ONTRAPORT_RATE_WAIT = env.float("ONTRAPORT_RATE_WAIT", default=90)
ONTRAPORT_REDIS_URL = env.str("ONTRAPORT_REDIS_URL", default="") or None
ONTRAPORT_INSTALLATION = env.str("ONTRAPORT_INSTALLATION", default="") or None
ONTRAPORT_NOTIFY = env.bool("ONTRAPORT_NOTIFY", default=False)
ONTRAPORT_NOTIFY_CHANGES = env.bool("ONTRAPORT_NOTIFY_CHANGES", default=ONTRAPORT_NOTIFY)
ONTRAPORT_SITE_NAME = env.str("ONTRAPORT_SITE_NAME", default="")
KEEP_EVENTS = env.str("ONTRAPORT_KEEP_EVENTS", default="730")
ONTRAPORT_KEEP_EVENTS = None if KEEP_EVENTS == "none" else float(KEEP_EVENTS)
ONTRAPORT_MONITORING_TOKEN = env.str("ONTRAPORT_MONITORING_TOKEN", default="") or None
ONTRAPORT_AFTER_LINK_URL = env.str("ONTRAPORT_AFTER_LINK_URL", default="/")

# The demo
DEMO_SANDBOX_URL = env.str("DEMO_SANDBOX_URL", default="")
