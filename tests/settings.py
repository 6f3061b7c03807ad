"""The smallest site that an adopter can have. A child process gets its own settings as JSON in the environment."""

import json
import os

from tests.support.databases import test_database
from tests.support.mariadb import use_driver

SECRET_KEY = "a-key-of-the-tests-that-protects-nothing-and-is-long-enough"
ALLOWED_HOSTS = ["*"]
DEBUG = False
USE_TZ = True
LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
ROOT_URLCONF = "tests.urls"
STATIC_URL = "static/"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
LOGIN_URL = "admin:login"

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "ontraport_connect",
    "organizations",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "ontraport_connect.middleware.OntraportMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

if "TEST_SETTINGS" in os.environ:
    globals().update(json.loads(os.environ["TEST_SETTINGS"]))
    if any(entry["ENGINE"].endswith("mysql") for entry in globals()["DATABASES"].values()):
        use_driver()
else:
    DATABASES = {"default": test_database.entry()}
