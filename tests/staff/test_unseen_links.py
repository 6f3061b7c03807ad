"""``manage.py ontraport check`` counts the links that nobody can see since the site was switched to tenants, or back."""

from __future__ import annotations

import pytest
from django.test import override_settings

from tests.support.command import Run
from tests.support.linked import key_account, person

pytestmark = pytest.mark.django_db

TENANTS = override_settings(ONTRAPORT_TENANT="tests.support.pages.tenant_of_request")


def found() -> list[tuple[str, str]]:
    data = Run("check", "--offline", "--json").data
    return [(each["level"], each["text"]) for each in data["findings"] if each["subject"] == "owners"]


def test_personal_links_of_a_site_that_has_tenants_now_are_counted() -> None:
    maya = person("maya")
    key_account(maya, tenant="acme")
    with TENANTS:
        assert found() == [("ok", "all accounts belong to tenants")]
        key_account(maya)
        assert found() == [
            ("warning", "1 account belongs to a person, and nobody can see it, since ONTRAPORT_TENANT is set")
        ]
        key_account(maya, ontraport_id="204211")
        assert found() == [
            ("warning", "2 accounts belong to people, and nobody can see them, since ONTRAPORT_TENANT is set")
        ]
        run = Run("check", "--offline")
    assert "WARN  owners: 2 accounts" in run.output
    assert "ontraport assign UID --tenant TENANT`" in " ".join(run.text.split())
    assert "manage.py ontraport disconnect" in " ".join(run.text.split())


def test_links_of_tenants_of_a_site_that_has_none_any_more_are_counted() -> None:
    maya = person("maya")
    key_account(maya)
    assert found() == [("ok", "all accounts belong to people")]
    key_account(maya, tenant="acme")
    assert found() == [
        ("warning", "1 account belongs to a tenant, and nobody can see it, since ONTRAPORT_TENANT is not set")
    ]
    key_account(maya, tenant="borealis")
    assert found() == [
        ("warning", "2 accounts belong to tenants, and nobody can see them, since ONTRAPORT_TENANT is not set")
    ]
    assert "ontraport assign UID --user USERNAME`" in " ".join(Run("check", "--offline").text.split())
