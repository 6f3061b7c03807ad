"""System checks: a missing or wrong setting is reported with a hint; a default installation is clean."""

from __future__ import annotations

import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from django.conf import settings
from django.conf.urls.i18n import i18n_patterns
from django.test import override_settings
from django.urls import clear_script_prefix, include, path, set_script_prefix
from django.views.generic import RedirectView
from requests.utils import DEFAULT_CA_BUNDLE_PATH

from ontraport_connect import setting_checks
from ontraport_connect.checks import AUTHENTICATION, MIDDLEWARE, check_deployment, check_settings

ORIGIN = "https://app.ontraport.com"
DJANGO, JINJA = (f"django.template.backends.{name}" for name in ("django.DjangoTemplates", "jinja2.Jinja2"))
MAILS = {"BACKEND": DJANGO, "NAME": "mails", "APP_DIRS": True, "OPTIONS": {"autoescape": False}}
OTHERS = [name for name in settings.MIDDLEWARE if name not in {MIDDLEWARE, AUTHENTICATION}]
WRONG: list[tuple[str, Any]] = [
    ("E001", {"ONTRAPORT_ENDPOINTS": "nowhere"}),
    ("E001", {"ONTRAPORT_ENDPOINTS": {"issuer": "https://auth.example"}}),
    (
        "E001",
        {
            "ONTRAPORT_ENDPOINTS": {
                "authorization_endpoint": "https://a",
                "token_endpoint": "https://b",
                "tokens": "https://c",
            }
        },
    ),
    ("E001", {"ONTRAPORT_ENDPOINTS": {"authorization_endpoint": "https://a", "token_endpoint": 7}}),
    ("E002", {"ONTRAPORT_ENDPOINTS": {"authorization_endpoint": "http://a.example", "token_endpoint": "https://b"}}),
    ("E002", {"ONTRAPORT_REST_URL": "http://api.ontraport.com/1/"}),
    ("E002", {"ONTRAPORT_MCP_URL": "mcp.ontraport.com"}),
    ("E002", {"ONTRAPORT_REDIRECT_URI": "http://shop.example/ontraport/callback/"}),
    ("E002", {"ONTRAPORT_REDIRECT_URI": "https://*.shop.example/ontraport/callback/"}),
    ("E002", {"ONTRAPORT_RESOURCE": 7}),
    ("E002", {"ONTRAPORT_REST_URL": "https://[broken/"}),
    ("E003", {"ONTRAPORT_CLIENT_SECRET": "secret"}),
    ("E003", {"ONTRAPORT_CLIENT_ID": 7}),
    ("E003", {"ONTRAPORT_ENDPOINTS": "guide"}),
    ("E004", {"ONTRAPORT_ENCRYPTION_KEYS": "k" * 40}),
    ("E004", {"ONTRAPORT_ENCRYPTION_KEYS": ["short"]}),
    ("E004", {"ONTRAPORT_ENCRYPTION_KEYS": [b"k" * 40]}),
    ("E005", {"ONTRAPORT_TENANT": "no.such.function"}),
    ("E005", {"ONTRAPORT_TENANT": "tests.doors.test_checks.WRONG"}),
    ("E005", {"ONTRAPORT_TENANT": 7}),
    ("E015", {"ONTRAPORT_MAY": "no.such.function"}),
    ("E015", {"ONTRAPORT_MAY": "tests.doors.test_checks.WRONG"}),
    ("E015", {"ONTRAPORT_MAY": 7}),
    ("E015", {"ONTRAPORT_MAY": lambda request, tenant: True}),
    ("E006", {"ONTRAPORT_TIMEOUT": 10}),
    ("E006", {"ONTRAPORT_TIMEOUT": (3, 0)}),
    ("E006", {"ONTRAPORT_RATE_LIMIT": 180}),
    ("E006", {"ONTRAPORT_RATE_LIMIT": (0.5, 60)}),
    ("E006", {"ONTRAPORT_LEEWAY": "60"}),
    ("E006", {"ONTRAPORT_REFRESH_CONCURRENCY": 0}),
    ("E006", {"ONTRAPORT_IDLE_AFTER": 3600}),
    ("E006", {"ONTRAPORT_IDLE_AFTER": "month"}),
    ("E006", {"ONTRAPORT_IDLE_AFTER": True}),
    ("E006", {"ONTRAPORT_IDLE_AFTER": timedelta(hours=1)}),
    ("E006", {"ONTRAPORT_KEEP_EVENTS": 0}),
    ("E006", {"ONTRAPORT_KEEP_EVENTS": "730"}),
    ("E006", {"ONTRAPORT_KEEP_EVENTS": True}),
    ("E006", {"ONTRAPORT_KEEP_EVENTS": 36501}),
    ("E006", {"ONTRAPORT_KEEP_EVENTS": float("nan")}),
    ("E006", {"ONTRAPORT_KEEP_EVENTS": timedelta(hours=23)}),
    ("E007", {"ONTRAPORT_SCOPES": "mcp:tools"}),
    ("E007", {"ONTRAPORT_MCP_TOOLS": [7]}),
    ("E008", {"MIDDLEWARE": [MIDDLEWARE, *OTHERS, AUTHENTICATION]}),
    ("E009", {"ONTRAPORT_REDIRECT_URI": "https://shop.example/ontraport/callback/#done"}),
    ("E009", {"ONTRAPORT_REDIRECT_URI": "https://shop.example/ontraport/callback/?from=ontraport"}),
    ("E009", {"ONTRAPORT_REDIRECT_URI": "https://user:word@shop.example/ontraport/callback/"}),
    ("E009", {"ONTRAPORT_REDIRECT_URI": " https://shop.example/ontraport/callback/"}),
    ("E009", {"ONTRAPORT_REDIRECT_URI": "https://shop.example/ontraport/callback/\n"}),
    ("E010", {"ONTRAPORT_REDIRECT_URI": "https://shop.example/ontraport/calback/"}),
    ("E010", {"ONTRAPORT_REDIRECT_URI": "https://shop.example/ontraport/callback"}),
    ("E010", {"ONTRAPORT_REDIRECT_URI": "https://shop.example/ontraport/"}),
    ("E010", {"ONTRAPORT_REDIRECT_URI": "https://shop.example/"}),
    ("E010", {"ONTRAPORT_REDIRECT_URI": "https://shop.example"}),
    ("W007", {"ONTRAPORT_REDIRECT_URI": "https://shop.example/app/ontraport/callback/"}),
    ("I001", {"SECURE_CSP": {"form-action": ["'self'"]}}),
    ("I001", {"CONTENT_SECURITY_POLICY": {"DIRECTIVES": {"form-action": ["'self'", "https://pay.example"]}}}),
    ("I001", {"CSP_FORM_ACTION": "'self'"}),
    ("W008", {"SECURE_CSP": {"form-action": ["'none'"]}}),
    ("W008", {"SECURE_CSP": {"form-action": False}}),
    ("W008", {"SECURE_CSP": {"form-action": ["http://mcp.ontraport.com"]}}),
    ("E020", {"ONTRAPORT_CA_BUNDLE": "/no/such/file.pem"}),
    ("E020", {"ONTRAPORT_CA_BUNDLE": Path("/no/such/file.pem")}),
    ("E020", {"ONTRAPORT_CA_BUNDLE": __file__}),
    ("E020", {"ONTRAPORT_CA_BUNDLE": 7}),
    ("E021", {"ONTRAPORT_PROXY": "proxy.example.com:3128"}),
    ("E021", {"ONTRAPORT_PROXY": 7}),
    ("E034", {"TENANT_APPS": ["shop", "ontraport_connect"]}),
    (
        "E034",
        {"TENANT_TYPES": {"public": {"APPS": []}, "shop": {"APPS": ["ontraport_connect.apps.OntraportConnectConfig"]}}},
    ),
    ("E036", {"TEMPLATES": [{"BACKEND": DJANGO, "DIRS": [], "OPTIONS": {}}]}),
    ("E036", {"TEMPLATES": [{"BACKEND": JINJA, "APP_DIRS": True}]}),
    ("E036", {"TEMPLATES": []}),
    ("E037", {"TEMPLATES": [MAILS, *settings.TEMPLATES]}),
    ("W001", {"MIDDLEWARE": [AUTHENTICATION]}),
    ("W006", {"ONTRAPORT_NOTIFY": True}),
    ("W023", {"PREPEND_WWW": True, "ONTRAPORT_REDIRECT_URI": "https://shop.example/ontraport/callback/"}),
    ("W002", {"ROOT_URLCONF": "django.contrib.auth.urls"}),
    (
        "W002",
        {
            "ROOT_URLCONF": "django.contrib.auth.urls",
            "ONTRAPORT_REDIRECT_URI": "https://shop.example/ontraport/callback/",
        },
    ),
]


@pytest.mark.parametrize(("check_id", "changes"), WRONG)
def test_a_wrong_setting_is_said_once_with_a_hint(check_id: str, changes: dict[str, Any]) -> None:
    with override_settings(**changes):
        (message,) = check_settings(None)
    assert message.id == f"ontraport_connect.{check_id}"
    assert message.hint


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"ONTRAPORT_CLIENT_ID": "id", "ONTRAPORT_CLIENT_SECRET": "secret", "ONTRAPORT_ENDPOINTS": "guide"},
        {"ONTRAPORT_MCP_TOOLS": ["get_objects"], "ONTRAPORT_RESOURCE": None},
        {"ONTRAPORT_REDIRECT_URI": "http://localhost:8000/ontraport/callback/"},
        {"ONTRAPORT_CA_BUNDLE": DEFAULT_CA_BUNDLE_PATH, "ONTRAPORT_PROXY": "http://me:p%40ss@proxy.example.com:3128"},
        {"ONTRAPORT_CA_BUNDLE": Path(DEFAULT_CA_BUNDLE_PATH)},
        {"ONTRAPORT_REST_URL": "http://[::1]:8001/1/", "ONTRAPORT_MCP_URL": "http://shop.localhost:8001/"},
        {"ONTRAPORT_ENCRYPTION_KEYS": ["k" * 32], "ONTRAPORT_TENANT": "tests.doors.test_conf.number"},
        {"ONTRAPORT_MAY": lambda request, tenant, action: True},
        {"ONTRAPORT_MAY": "tests.journeys.test_tenant_hosts.may", "ONTRAPORT_TENANT": "tests.doors.test_conf.number"},
        {"ONTRAPORT_MAY": print},
        {"ONTRAPORT_MAY": dict},  # Python knows no signature of it
        {
            "PUBLIC_SCHEMA_NAME": "shared",
            "TENANT_TYPES": {"shared": {"APPS": ["ontraport_connect"]}, "shop": {"APPS": []}},
        },
        {"ONTRAPORT_KEEP_EVENTS": None},
        {"ONTRAPORT_KEEP_EVENTS": timedelta(days=30)},
        {"ONTRAPORT_IDLE_AFTER": timedelta(days=30)},
        {"ONTRAPORT_IDLE_AFTER": 30 * 86_400},
        {"MIDDLEWARE": [MIDDLEWARE]},
        {"TEMPLATES": [*settings.TEMPLATES, MAILS]},
        {"TEMPLATES": [{"BACKEND": JINJA, "APP_DIRS": True}, *settings.TEMPLATES]},
        {"PREPEND_WWW": True, "ONTRAPORT_REDIRECT_URI": "https://www.shop.example/ontraport/callback/"},
        {
            "PREPEND_WWW": True,
            "ONTRAPORT_REDIRECT_URI": "https://shop.example/ontraport/callback/",
            "ONTRAPORT_CLIENT_ID": "id",
        },
        {"SHARED_APPS": ["ontraport_connect"], "TENANT_APPS": ["shop", "ontraport_connect_reports"]},
        {"TENANT_TYPES": {"public": {"APPS": ["ontraport_connect"]}, "shop": {"APPS": ["shop"]}}},
        *({"SECURE_CSP": {"form-action": ["'self'", source]}} for source in ("*", "https:", "*.ontraport.com", ORIGIN)),
        {"SECURE_CSP": {"default-src": ["'none'"]}, "CONTENT_SECURITY_POLICY": {"REPORT_ONLY": True}},
    ],
)
def test_a_right_configuration_is_clean(changes: dict[str, Any]) -> None:
    with override_settings(**changes):
        assert check_settings(None) == []


def test_a_user_model_without_permissions_needs_a_function_that_knows_who_may(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(setting_checks, "get_user_model", lambda: object)
    with override_settings(ONTRAPORT_TENANT="tests.doors.test_conf.number"):
        (message,) = check_settings(None)
        assert message.id == "ontraport_connect.W015"
        with override_settings(ONTRAPORT_MAY=lambda request, tenant, action: True):
            assert check_settings(None) == []


class MountedElsewhere:
    """URLconfs in which the callback is somewhere else."""

    prefixed = [*i18n_patterns(path("ontraport/", include("ontraport_connect.urls")))]
    unprefixed = [*i18n_patterns(path("ontraport/", include("ontraport_connect.urls")), prefix_default_language=False)]
    spelt = [path("möbel/", include("ontraport_connect.urls"))]
    shadowed = [
        path("ontraport/callback/", RedirectView.as_view(url="/"), name="callback"),
        path("o/", include("ontraport_connect.urls")),
    ]


@pytest.mark.parametrize(
    ("urlpatterns", "right", "wrong"),
    [
        (
            MountedElsewhere.prefixed,
            ["/en/ontraport/callback/", "/de/ontraport/callback/"],
            ["/xx/ontraport/callback/"],
        ),
        (MountedElsewhere.unprefixed, ["/ontraport/callback/", "/fr/ontraport/callback/"], ["/ontraport/callback/x"]),
        (MountedElsewhere.spelt, ["/m%C3%B6bel/callback/", "/möbel/callback/"], ["/m%C3%B6bels/callback/"]),
    ],
)
def test_a_redirect_uri_under_a_language_prefix_is_right_in_each_language(
    urlpatterns: list[Any], right: list[str], wrong: list[str]
) -> None:
    urlconf = ModuleType("tests.doors.prefixed_urls")
    urlconf.urlpatterns = urlpatterns  # type: ignore[attr-defined]
    with override_settings(ROOT_URLCONF=urlconf):
        for path_ in right:
            with override_settings(ONTRAPORT_REDIRECT_URI=f"https://shop.example{path_}"):
                assert check_settings(None) == [], path_
        for path_ in wrong:
            with override_settings(ONTRAPORT_REDIRECT_URI=f"https://shop.example{path_}"):
                assert {message.id for message in check_settings(None)} <= {
                    "ontraport_connect.E010",
                    "ontraport_connect.W007",
                }
                assert check_settings(None)


def test_another_page_of_that_name_is_not_the_callback() -> None:
    urlconf = ModuleType("tests.doors.shadowed_urls")
    urlconf.urlpatterns = MountedElsewhere.shadowed  # type: ignore[attr-defined]
    uri = "https://shop.example/ontraport/callback/"
    with override_settings(ROOT_URLCONF=urlconf, ONTRAPORT_REDIRECT_URI=uri):
        assert [message.id for message in check_settings(None)] == ["ontraport_connect.E010"]


def test_a_site_that_says_where_it_is_mounted_is_checked_there() -> None:
    set_script_prefix("/app/")  # as django.setup() does with FORCE_SCRIPT_NAME
    try:
        with override_settings(ONTRAPORT_REDIRECT_URI="https://shop.example/app/ontraport/callback/"):
            assert check_settings(None) == []
        for path_ in ("/ontraport/callback/", "/other/app/ontraport/callback/"):
            with override_settings(ONTRAPORT_REDIRECT_URI=f"https://shop.example{path_}"):
                assert [message.id for message in check_settings(None)] == ["ontraport_connect.E010"], path_
    finally:
        clear_script_prefix()


def test_no_check_shows_a_secret() -> None:
    with override_settings(ONTRAPORT_CLIENT_SECRET="hush-hush", ONTRAPORT_ENCRYPTION_KEYS=["tooshort-key"]):
        said = "".join(f"{message.msg}{message.hint}" for message in check_settings(None))
    assert "hush" not in said
    assert "tooshort" not in said


def test_deployment_wants_a_key_and_an_address_of_its_own() -> None:
    assert [message.id for message in check_deployment(None)] == ["ontraport_connect.W003", "ontraport_connect.W004"]
    with override_settings(
        ONTRAPORT_ENCRYPTION_KEYS=["k" * 32], ONTRAPORT_REDIRECT_URI="https://shop.example/callback/"
    ):
        assert check_deployment(None) == []


def test_tools_without_the_sdk_are_said() -> None:
    """Runs a new process that hides the MCP SDK."""
    script = (
        "import sys; sys.modules['mcp'] = sys.modules['httpx2'] = None\n"
        "import django; django.setup()\n"
        "from django.test import override_settings\n"
        "from ontraport_connect.checks import check_settings\n"
        "with override_settings(ONTRAPORT_MCP_TOOLS=['get_objects']):\n"
        "    print([message.id for message in check_settings(None)])\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['ontraport_connect.W005']"
