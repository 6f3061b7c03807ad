"""The owner of the links in a request, and what the person making it may do with them."""

from __future__ import annotations

import hashlib

from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest

from ontraport_connect.conf import tenant_of
from ontraport_connect.linking import Owner

PERMISSIONS = {
    "link": "ontraport_connect.link_ontraportaccount",
    "disconnect": "ontraport_connect.delete_ontraportaccount",
}

MADE_FOR = "made_for"
"""The field of forms, and of the connect page's address, that names the tenant that they are made for."""


def owner_of(request: HttpRequest) -> Owner:
    """Return the owner of the links in this request. Raises ``Http404`` if tenants are used and the request has none."""
    tenant = tenant_of(request)
    if tenant == "":
        raise Http404("There is no tenant here.")
    return Owner(user=request.user, tenant=tenant)


def mark_of(request: HttpRequest) -> str:
    """Return the text by which forms name the tenant that they are made for: a digest of its id, or "" where links are personal."""
    tenant = tenant_of(request)
    return "" if tenant is None else hashlib.sha256(tenant.encode()).hexdigest()[:32]


def is_for_another_tenant(request: HttpRequest) -> bool:
    """Tell whether the page or form of this request was made for a tenant that is no longer the request's, since the person has
    switched tenants in another tab. One that names no tenant is for any.
    """
    made_for = request.POST.get(MADE_FOR, "") or request.GET.get(MADE_FOR, "")
    return bool(made_for) and made_for != mark_of(request)


def permissions(request: HttpRequest) -> dict[str, bool]:
    """Return which actions this person may take: all of them on personal links, those of Django's permissions on a tenant's."""
    is_own = tenant_of(request) is None
    return {name: is_own or request.user.has_perm(permission) for name, permission in PERMISSIONS.items()}


def require(request: HttpRequest, name: str) -> None:
    """Raise ``PermissionDenied`` unless this person may take the action ``name``."""
    if not permissions(request)[name]:
        raise PermissionDenied
