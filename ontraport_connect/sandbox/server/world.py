"""The one stand-in of this process, and what Django's settings need to know of it."""

from __future__ import annotations

import hashlib
import os
from typing import Any

from django.apps import apps

from ontraport_connect.sandbox import Account, StandIn, account_of

ORIGIN = os.environ.get("SANDBOX_ORIGIN", "http://127.0.0.1:8001")
SCOPE = "mcp:tools"


def token_account(token: str) -> Account | None:
    """Return whose account an access token opens."""
    checksum = hashlib.sha256(token.encode()).hexdigest()
    tokens: Any = apps.all_models["oauth2_provider"]["accesstoken"]._default_manager
    found = tokens.select_related("user").filter(token_checksum=checksum).first()
    return account_of(found.user.username) if found is not None and found.is_valid([SCOPE]) else None


stand_in = StandIn(ORIGIN, token_account)


def access_token_lifetime(request: object) -> int:
    """Return the lifetime in seconds. oauthlib calls this for each token that it issues."""
    return stand_in.switches.settings.access_token_lifetime
