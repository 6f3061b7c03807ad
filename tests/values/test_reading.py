"""Values of settings that cannot be used are refused in words, wherever they are read."""

from __future__ import annotations

import math
import os
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from django.test import RequestFactory, override_settings
from django.utils.functional import SimpleLazyObject
from django.utils.translation import gettext_lazy

from ontraport_connect.checks import check_settings
from ontraport_connect.conf import conf, tenant_of
from ontraport_connect.encryption import current_key_id
from ontraport_connect.exceptions import OntraportMisconfigured


class Fails:
    """Fails wherever it is looked at."""

    def __bool__(self) -> bool:
        raise RuntimeError("canary-of-a-setting")

    def __str__(self) -> str:
        raise RuntimeError("canary-of-a-setting")


def fails() -> None:
    raise RuntimeError("canary-of-a-setting")


class FailingPath(Fails, os.PathLike[str]):
    def __fspath__(self) -> str:
        return "/ca.pem"


OUT_OF_RANGE: list[tuple[str, Any]] = [
    ("ONTRAPORT_TIMEOUT", (3.05, 0)),
    ("ONTRAPORT_TIMEOUT", (3.05, math.nan)),
    ("ONTRAPORT_TIMEOUT", (3.05, -1)),
    ("ONTRAPORT_REFRESH_RATE", 0),
    ("ONTRAPORT_REFRESH_MARGIN", 1e308),
    ("ONTRAPORT_IDLE_AFTER", timedelta(days=999_999_999)),
    ("ONTRAPORT_KEEP_EVENTS", -1),
]
UNFIT: list[tuple[str, Any]] = [
    *OUT_OF_RANGE,
    ("ONTRAPORT_SCOPES", "mcp:tools"),
    ("ONTRAPORT_SCOPES", None),
    ("ONTRAPORT_MCP_TOOLS", [7]),
    ("ONTRAPORT_ENDPOINTS", None),
    ("ONTRAPORT_CLIENT_ID", 7),
    ("ONTRAPORT_CLIENT_SECRET", "caf\udce9"),
    ("ONTRAPORT_MCP_URL", "https://mcp.example/\0"),
    ("ONTRAPORT_RESOURCE", b"https://mcp.example"),
    ("ONTRAPORT_CA_BUNDLE", FailingPath),
    ("ONTRAPORT_NOTIFY", Fails),
    ("ONTRAPORT_NOTIFY", "False"),
    ("ONTRAPORT_NOTIFY_CHANGES", "0"),
    ("ONTRAPORT_MAY", partial(SimpleLazyObject, fails)),
    ("ONTRAPORT_ENCRYPTION_KEYS", partial(SimpleLazyObject, fails)),
]


@pytest.mark.parametrize(("name", "value"), UNFIT)
def test_a_value_that_cannot_be_used_is_refused_in_words(name: str, value: Any) -> None:
    """A function makes a value that pytest could not name."""
    value = value() if callable(value) else value
    with override_settings(**{name: value}), pytest.raises(OntraportMisconfigured, match=f"{name} ") as raised:
        getattr(conf, name)
    assert raised.value.code == "settings"
    assert "canary" not in str(raised.value)


def test_a_text_may_be_computed_and_a_path_may_be_one() -> None:
    with override_settings(ONTRAPORT_SITE_NAME=gettext_lazy("connected"), ONTRAPORT_CA_BUNDLE=Path("/ca.pem")):
        assert (conf.ONTRAPORT_SITE_NAME, conf.ONTRAPORT_CA_BUNDLE) == ("connected", "/ca.pem")
    with override_settings(ONTRAPORT_RESOURCE=None, ONTRAPORT_IDLE_AFTER=60):
        assert (None, timedelta(minutes=1)) == (conf.ONTRAPORT_RESOURCE, conf.ONTRAPORT_IDLE_AFTER)


@pytest.mark.parametrize("name", ["ONTRAPORT_ENDPOINTS", "ONTRAPORT_CLIENT_ID", "ONTRAPORT_SCOPES", "ONTRAPORT_MAY"])
def test_a_setting_that_cannot_be_read_is_said_once(name: str) -> None:
    with override_settings(**{name: SimpleLazyObject(fails)}):
        (message,) = check_settings(None)
    assert message.id in {"ontraport_connect.E035", "ontraport_connect.E015"}
    assert name in str(message.msg)
    assert message.hint


def test_a_path_that_leads_to_no_tenant_is_said_to_the_operator() -> None:
    with override_settings(ONTRAPORT_TENANT="nowhere"), pytest.raises(OntraportMisconfigured, match="ONTRAPORT_TENANT"):
        tenant_of(RequestFactory().get("/"))


@override_settings(SECRET_KEY=7)
def test_without_any_key_nothing_is_encrypted() -> None:
    with pytest.raises(OntraportMisconfigured, match="SECRET_KEY is not a string"):
        current_key_id()
