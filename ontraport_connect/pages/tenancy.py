"""Whose a link is, and what the person of a request may do to it."""

from __future__ import annotations

from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest

from ontraport_connect.conf import tenant_of
from ontraport_connect.linking import Owner

PERMISSIONS = {
    "link": "ontraport_connect.link_ontraportaccount",
    "disconnect": "ontraport_connect.delete_ontraportaccount",
}


def owner_of(request: HttpRequest) -> Owner:
    """Return the owner of the links of this request. Raises ``Http404`` where tenants are used and there is none here."""
    tenant = tenant_of(request)
    if tenant == "":
        raise Http404("There is no tenant here.")
    return Owner(user=request.user, tenant=tenant)


def permissions(request: HttpRequest) -> dict[str, bool]:
    """Tell what this person may do: everything with links of their own, by Django's permissions with those of a tenant."""
    is_own = tenant_of(request) is None
    return {name: is_own or request.user.has_perm(permission) for name, permission in PERMISSIONS.items()}


def require(request: HttpRequest, name: str) -> None:
    """Raise ``PermissionDenied`` unless this person may do that."""
    if not permissions(request)[name]:
        raise PermissionDenied
