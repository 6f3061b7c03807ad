"""The app reaches the sandbox through a proxy that breaks connections."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.test import Client, override_settings

from tests.support import ontraport
from tests.support.fault_proxy import FaultProxy
from tests.support.linked import person
from tests.support.servers import Sandbox


@pytest.fixture(scope="module")
def proxy(sandbox_process: Sandbox) -> Iterator[FaultProxy]:
    with FaultProxy(sandbox_process.url) as proxy:
        yield proxy


@pytest.fixture(autouse=True)
def configured(sandbox: Sandbox, proxy: FaultProxy) -> Iterator[None]:
    """Point browsers at the sandbox itself, and the app at the proxy."""
    direct, through = ontraport.settings_for(sandbox.url), ontraport.settings_for(proxy.url)
    people = {name: direct["ONTRAPORT_ENDPOINTS"][name] for name in ("issuer", "authorization_endpoint")}
    through["ONTRAPORT_ENDPOINTS"] |= people
    with override_settings(**{**through, "ONTRAPORT_RESOURCE": sandbox.url}):
        proxy.meet()
        yield
    proxy.meet()


@pytest.fixture
def maya() -> Any:
    return person("maya")


@pytest.fixture
def browser(client: Client, maya: Any) -> Client:
    client.force_login(maya)
    return client
