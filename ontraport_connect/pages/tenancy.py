"""The owner of the links in a request, and what the person making it may do with them."""

from __future__ import annotations

import hashlib
import logging
from typing import Any
from urllib.parse import urlsplit

from django.contrib.auth import get_user_model
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest
from django.utils.translation import gettext as _

from ontraport_connect import linking
from ontraport_connect.conf import conf, tenant_of
from ontraport_connect.exceptions import LinkingFailed, OntraportMisconfigured
from ontraport_connect.linking import Attempt, Owner
from ontraport_connect.models import is_authenticated, is_user, person_of

from . import addresses

logger = logging.getLogger("ontraport_connect")

MADE_FOR = "made_for"
"""The field of forms, and of the connect page's address, that names the tenant that they are made for."""


def is_nobody(request: HttpRequest) -> bool:
    """Tell whether this request is made by no user of this site. Raises ``OntraportMisconfigured`` if nobody can be known to make it."""
    if not hasattr(request, "user"):
        raise OntraportMisconfigured(
            "No middleware of this site sets request.user, so nobody can sign in: add AuthenticationMiddleware to MIDDLEWARE.",
            code="no_user",
        )
    if person_of(request) is not None:
        return False
    user: Any = request.user
    if is_authenticated(user) and not is_user(user):
        logger.warning(
            "request.user is a %s, which is no %s with a primary key, so it owns no links: let a middleware set request.user to the user"
            " whom it stands for.",
            type(user).__name__,
            get_user_model()._meta.label,
        )
    return True


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
    """Return which actions this person may take on the links of this request: none where tenants are used, and the request has none.

    Raises ``OntraportMisconfigured``: see ``linking.may``.
    """
    tenant = tenant_of(request)
    return {action: tenant != "" and linking.may(request, tenant, action) for action in linking.PERMISSIONS}


def require(request: HttpRequest, action: str) -> None:
    """Raise ``PermissionDenied`` unless this person may take ``action`` on the links of this request, and what ``owner_of`` raises."""
    if not linking.may(request, owner_of(request).tenant, action):
        raise PermissionDenied


def owner_of_attempt(request: HttpRequest, attempt: Attempt | None) -> Owner:
    """Return whose links an answer from Ontraport may change: those of the tenant for which ``attempt`` was started.

    The callback may be on a host of its own, where there is no tenant, so the tenant is that of the attempt, and what is asked again is
    whether the person may link for it. Raises ``LinkingFailed`` when they no longer work for it, and ``PermissionDenied``. An
    attempt that is unknown, or somebody else's, is left to ``linking.complete``.
    """
    if attempt is None or attempt.owner != str(request.user.pk):
        return Owner(user=request.user, tenant=None)
    if not _works_for(request, attempt):
        raise LinkingFailed(_("You've switched workspaces"), code="switched_tenant")
    if not linking.may(request, attempt.tenant, "link"):
        raise PermissionDenied
    return Owner(user=request.user, tenant=attempt.tenant)


def _works_for(request: HttpRequest, attempt: Attempt) -> bool:
    """Tell whether the person works for the attempt's tenant still, as far as ``ONTRAPORT_TENANT`` knows.

    Where ``ONTRAPORT_MAY`` is set, that knows better. Otherwise ``ONTRAPORT_TENANT`` is asked as on the host where the attempt was started.
    """
    here = tenant_of(request)
    if here == attempt.tenant or here is None or attempt.tenant is None:
        return here == attempt.tenant
    if conf.ONTRAPORT_MAY is not None:
        return True
    if attempt.origin and tenant_of(addresses.on_host(request, urlsplit(attempt.origin).netloc)) == attempt.tenant:
        return True
    logger.warning(
        "A person came back from Ontraport for tenant %s to a host where ONTRAPORT_TENANT gives %s. If they did not switch, set"
        " ONTRAPORT_MAY, so that this app can ask whether they may link for the tenant with which they started.",
        attempt.tenant,
        here or "none",
    )
    return False
