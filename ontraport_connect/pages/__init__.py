"""The pages for customers: views, forms, wording, and the addresses they use."""

from .addresses import uuid_or_none
from .buttons import button
from .languages import Language, spoken
from .moments import ago, as_element
from .oauth_views import callback, connect, reconnect
from .responses import connect_url, not_signed_in, not_usable, unavailable
from .site_checks import check_form_action, check_redirect_uri
from .state_texts import State, happened, reason_for, state_of
from .tenancy import permissions
from .views import (
    accounts,
    client_metadata,
    connect_key,
    disconnect,
    make_default,
    problem,
    rename,
)
from .way_back import Site, site_of

__all__ = [
    "Language",
    "Site",
    "State",
    "accounts",
    "ago",
    "as_element",
    "button",
    "callback",
    "check_form_action",
    "check_redirect_uri",
    "client_metadata",
    "connect",
    "connect_key",
    "connect_url",
    "disconnect",
    "happened",
    "make_default",
    "not_signed_in",
    "not_usable",
    "permissions",
    "problem",
    "reason_for",
    "reconnect",
    "rename",
    "site_of",
    "spoken",
    "state_of",
    "unavailable",
    "uuid_or_none",
]
