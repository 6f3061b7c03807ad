"""What a person may do with links: ``ONTRAPORT_MAY`` says so, or Django's permissions do."""

from __future__ import annotations

from typing import Any, cast

from django.core.exceptions import PermissionDenied, SynchronousOnlyOperation
from django.db import Error as DatabaseFailure
from django.http import Http404, HttpRequest
from django.utils.module_loading import import_string

from ontraport_connect.conf import MayFunction, conf
from ontraport_connect.exceptions import OntraportMisconfigured
from ontraport_connect.monitoring import logger

PERMISSIONS = {
    "link": "ontraport_connect.link_ontraportaccount",
    "disconnect": "ontraport_connect.delete_ontraportaccount",
}
"""The actions on the pages, and the permission that each needs where ``ONTRAPORT_MAY`` is not set and the link is a tenant's."""

MANAGE = "manage"
"""The action that stands for everything in Django's admin that changes an account. Django's own permissions are needed there as well."""


def may_function() -> MayFunction | None:
    """Return the function that ``ONTRAPORT_MAY`` names, or ``None`` where Django's permissions count. Raises ``OntraportMisconfigured``."""
    may: Any = conf.ONTRAPORT_MAY
    if isinstance(may, str):
        try:
            may = import_string(may)
        except (ImportError, AttributeError, TypeError) as error:
            raise OntraportMisconfigured(
                f"ONTRAPORT_MAY does not name anything that can be imported: {error}", code="may"
            ) from error
    if may is not None and not callable(may):
        raise OntraportMisconfigured("ONTRAPORT_MAY is not a function, or the dotted path of one.", code="may")
    return cast("MayFunction | None", may)


def may(request: HttpRequest, tenant: str | None, action: str) -> bool:
    """Tell whether the person of ``request`` may take ``action`` on the links of ``tenant``; ``None`` stands for personal links.

    Whoever may not is not always told so by False: ``PermissionDenied`` and ``Http404`` of ``ONTRAPORT_MAY`` mean the same. Raises
    ``OntraportMisconfigured`` when it raises another error or does not return a bool, so that nobody is let in by mistake.
    """
    resolve = may_function()
    if resolve is None:
        return _has_permission(request, tenant, action)
    try:
        answer = resolve(request, tenant, action)
    except (PermissionDenied, Http404):
        return False
    except (DatabaseFailure, SynchronousOnlyOperation):  # not the function's fault
        raise
    except Exception as error:
        raise OntraportMisconfigured(
            f"ONTRAPORT_MAY raised {type(error).__name__} for the action {action!r}; nobody is allowed to take it.",
            code="may",
        ) from error
    if not isinstance(answer, bool):
        raise OntraportMisconfigured(
            f"ONTRAPORT_MAY gave a {type(answer).__name__} for the action {action!r}; it has to give True or False.",
            code="may",
        )
    return answer


def _has_permission(request: HttpRequest, tenant: str | None, action: str) -> bool:
    """Ask Django's permissions: in general, and, for backends that know objects, with the tenant."""
    permission = PERMISSIONS.get(action)
    if tenant is None or permission is None:
        return True
    has_perm: Any = getattr(request.user, "has_perm", None)  # a user model need not have permissions
    return has_perm is not None and (bool(has_perm(permission)) or _has_permission_for(tenant, permission, has_perm))


def _has_permission_for(tenant: str, permission: str, has_perm: Any) -> bool:
    """Ask with the tenant. A backend may know nothing but rows of a model of its own, and fail: then nothing is permitted."""
    try:
        return bool(has_perm(permission, tenant))
    except (DatabaseFailure, SynchronousOnlyOperation):  # not the backend's fault
        raise
    except Exception as error:  # noqa: BLE001  # whatever a site's backend raises
        logger.warning(
            "Nobody has %s for one tenant only: a backend of AUTHENTICATION_BACKENDS raised %s when it was asked with a tenant, which is a"
            " text. Let it return False for that, or set ONTRAPORT_MAY.",
            permission,
            type(error).__name__,
        )
        return False
