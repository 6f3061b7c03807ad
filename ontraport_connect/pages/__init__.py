"""The pages for customers: views, forms, wording, and the addresses they use."""

from . import json_api, views
from .addresses import uuid_or_none
from .buttons import button
from .json_views import negotiated
from .responses import connect_url, not_signed_in, not_usable, unavailable
from .site_checks import check_form_action, check_redirect_uri
from .state_texts import State, happened, reason_for, state_of
from .tenancy import permissions
from .views import callback, client_metadata, problem

accounts = negotiated(views.accounts, json_api.accounts)
connect = negotiated(views.connect, json_api.connect)
connect_key = negotiated(views.connect_key, json_api.connect_key)
disconnect = negotiated(views.disconnect, json_api.disconnect)
make_default = negotiated(views.make_default, json_api.make_default)
reconnect = negotiated(views.reconnect, json_api.reconnect)
rename = negotiated(views.rename, json_api.rename)

__all__ = [
    "State",
    "accounts",
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
    "state_of",
    "unavailable",
    "uuid_or_none",
]
