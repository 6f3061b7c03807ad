"""The settings are read live, and have their documented defaults."""

from __future__ import annotations

from datetime import timedelta
from enum import IntEnum
from typing import Any
from uuid import UUID

import pytest
from django.contrib.auth.models import Group
from django.http import HttpRequest
from django.test import RequestFactory, override_settings

from ontraport_connect.conf import OntraportSettings, conf, tenant_of
from ontraport_connect.exceptions import OntraportMisconfigured

DEFAULTS: dict[str, Any] = {
    "ONTRAPORT_CLIENT_ID": None,
    "ONTRAPORT_CLIENT_SECRET": None,
    "ONTRAPORT_ENDPOINTS": "ontraport",
    "ONTRAPORT_SCOPES": ["mcp:tools"],
    "ONTRAPORT_RESOURCE": "https://mcp.ontraport.com",
    "ONTRAPORT_REST_URL": "https://api.ontraport.com/1/",
    "ONTRAPORT_MCP_URL": "https://mcp.ontraport.com",
    "ONTRAPORT_REDIRECT_URI": None,
    "ONTRAPORT_MCP_TOOLS": None,
    "ONTRAPORT_ENCRYPTION_KEYS": [],
    "ONTRAPORT_TENANT": None,
    "ONTRAPORT_REFRESH_MARGIN": 600,
    "ONTRAPORT_IDLE_AFTER": None,
    "ONTRAPORT_REFRESH_RATE": 100,
    "ONTRAPORT_REFRESH_CONCURRENCY": 32,
    "ONTRAPORT_LEEWAY": 60,
    "ONTRAPORT_TIMEOUT": (3.05, 10),
    "ONTRAPORT_CA_BUNDLE": None,
    "ONTRAPORT_PROXY": None,
    "ONTRAPORT_RATE_LIMIT": (180, 60),
    "ONTRAPORT_RATE_WAIT": 90,
    "ONTRAPORT_REDIS_URL": None,
    "ONTRAPORT_INSTALLATION": None,
    "ONTRAPORT_NOTIFY": False,
    "ONTRAPORT_MAY": None,
    "ONTRAPORT_KEEP_EVENTS": 730,
    "ONTRAPORT_AFTER_LINK_URL": None,
}

OTHER_NUMBERS: dict[str, Any] = {
    "ONTRAPORT_REFRESH_MARGIN": 7.5,
    "ONTRAPORT_IDLE_AFTER": timedelta(days=7),
    "ONTRAPORT_REFRESH_RATE": 7,
    "ONTRAPORT_REFRESH_CONCURRENCY": 7,
    "ONTRAPORT_LEEWAY": 7,
    "ONTRAPORT_TIMEOUT": (7, 7.5),
    "ONTRAPORT_RATE_LIMIT": (7, 7.5),
    "ONTRAPORT_RATE_WAIT": 7,
    "ONTRAPORT_KEEP_EVENTS": 7,
}


@pytest.mark.parametrize(("name", "default"), DEFAULTS.items())
def test_defaults(name: str, default: Any) -> None:
    assert getattr(conf, name) == default


def test_every_setting_follows_override_settings() -> None:
    for name in (name for name in vars(OntraportSettings) if name.startswith("ONTRAPORT_")):
        other = OTHER_NUMBERS.get(name, "something else")
        with override_settings(**{name: other}):
            assert getattr(conf, name) == other


class Seconds(IntEnum):
    LONG = 900


def test_a_number_of_a_kind_of_its_own_is_one() -> None:
    with override_settings(ONTRAPORT_REFRESH_MARGIN=Seconds.LONG):
        assert conf.ONTRAPORT_REFRESH_MARGIN == 900


@pytest.mark.parametrize("value", [(3.05, 0), (3.05, -1), (3.05, float("nan"))])
def test_a_time_limit_in_which_no_answer_can_come_is_refused(value: Any) -> None:
    with override_settings(ONTRAPORT_TIMEOUT=value), pytest.raises(OntraportMisconfigured, match="positive"):
        assert conf.ONTRAPORT_TIMEOUT


@pytest.mark.parametrize("name", OTHER_NUMBERS)
@pytest.mark.parametrize("value", ["600", True, (1, 2, 3), ("1", "2"), b"5"])
def test_a_number_that_is_none_is_refused_in_words(name: str, value: Any) -> None:
    with override_settings(**{name: value}), pytest.raises(OntraportMisconfigured, match=f"{name} is not a") as raised:
        getattr(conf, name)
    assert raised.value.code == "settings"


def nobody(request: HttpRequest) -> None:
    return None


def number(request: HttpRequest) -> int:
    return 7


def no(request: HttpRequest) -> bool:
    return False


def uuid(request: HttpRequest) -> UUID:
    return UUID(int=7)


def yes(request: HttpRequest) -> bool:
    return True


def named(request: HttpRequest) -> object:
    """An object whose ``str()`` is a name, which is not unique."""
    return Group(name="Smith Ltd")


@pytest.mark.parametrize(
    ("path", "tenant"), [(None, None), ("nobody", ""), ("no", ""), ("number", "7"), ("uuid", str(UUID(int=7)))]
)
def test_the_tenant_of_a_request(path: str | None, tenant: str | None) -> None:
    with override_settings(ONTRAPORT_TENANT=path and f"{__name__}.{path}"):
        assert tenant_of(RequestFactory().get("/")) == tenant


@pytest.mark.parametrize(("path", "kind"), [("yes", "bool"), ("named", "Group")])
def test_what_is_no_id_is_no_tenant(path: str, kind: str) -> None:
    with (
        override_settings(ONTRAPORT_TENANT=f"{__name__}.{path}"),
        pytest.raises(OntraportMisconfigured, match=f"gave a {kind};"),
    ):
        tenant_of(RequestFactory().get("/"))
