"""The pages for customers: views, forms, wording, and the addresses they use."""

from . import json_api, oauth_views, views
from .addresses import uuid_or_none
from .buttons import MIDDLEWARE, button
from .json_views import negotiated
from .languages import Language, spoken
from .moments import ago, as_element, exactly
from .oauth_views import callback
from .responses import connect_url, not_set_up, not_signed_in, not_usable, unavailable
from .site_checks import check_form_action, check_redirect_uri, check_templates
from .state_texts import State, happened, reason_for, state_of
from .tenancy import permissions
from .views import client_metadata, problem
from .way_back import Site, site_of

accounts = negotiated(views.accounts, json_api.accounts)
connect = negotiated(oauth_views.connect, json_api.connect)
connect_key = negotiated(views.connect_key, json_api.connect_key)
disconnect = negotiated(views.disconnect, json_api.disconnect)
make_default = negotiated(views.make_default, json_api.make_default)
reconnect = negotiated(oauth_views.reconnect, json_api.reconnect)
rename = negotiated(views.rename, json_api.rename)

__all__ = [
    "MIDDLEWARE",
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
    "check_templates",
    "client_metadata",
    "connect",
    "connect_key",
    "connect_url",
    "disconnect",
    "exactly",
    "happened",
    "make_default",
    "not_set_up",
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
