"""A setting that cannot be used, and code of the site that raises, while an authorization code is exchanged: nothing is left behind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from django.db.models.signals import post_save
from django.test import Client, override_settings

from ontraport_connect.models import OntraportAccount
from tests.linking.test_oauth_links import alive, configured, maya
from tests.support import ontraport
from tests.support.servers import Sandbox

__all__ = ["configured", "maya"]

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.mark.parametrize("value", [None, b"https://mcp.example", ["https://mcp.example"], 7, Path("/mcp")])
def test_an_address_of_a_wrong_type_costs_no_link_its_grant(
    client: Client, maya: Any, sandbox: Sandbox, value: Any
) -> None:
    """It is asked whose account was linked, once the code has been exchanged; a link does without the answer."""
    back = ontraport.consent(ontraport.press_connect(client))
    with override_settings(ONTRAPORT_MCP_URL=value):
        assert ontraport.come_back(client, back).status_code == 302
    assert OntraportAccount.objects.get().is_connected


class Unruly(BaseException):
    pass


def test_a_receiver_that_ends_the_process_leaves_no_grant_at_ontraport(
    client: Client, maya: Any, sandbox: Sandbox
) -> None:
    back = ontraport.consent(ontraport.press_connect(client))

    def receive(**event: object) -> None:
        raise Unruly

    post_save.connect(receive, sender=OntraportAccount)
    try:
        with pytest.raises(Unruly):
            ontraport.come_back(client, back)
    finally:
        post_save.disconnect(receive, sender=OntraportAccount)
    assert not OntraportAccount.objects.exists()
    assert alive(sandbox) == 0
