"""For views of Django REST framework: a permission that asks for a usable Ontraport account.

Nothing else of this app imports the framework.
"""

from __future__ import annotations

from rest_framework import status
from rest_framework.exceptions import APIException
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.views import APIView

from . import pages, using
from .decorators import find_account
from .exceptions import OntraportUnavailable, ReconnectRequired
from .models import OntraportAccount, person_of


class NotConnected(APIException):  # type: ignore[misc]  # the framework has no types
    """401, with the address of the page that connects, or that reconnects ``account``."""

    status_code = status.HTTP_401_UNAUTHORIZED

    def __init__(self, request: Request, account: OntraportAccount | None) -> None:
        error = "ontraport_not_connected" if account is None else "ontraport_reconnect_required"
        url = pages.connect_url(request._request, account)  # noqa: SLF001  # the framework documents no other name for it
        super().__init__({"error": error, "connect_url": request.build_absolute_uri(url)})


class Unavailable(APIException):  # type: ignore[misc]  # the same
    """503, with ``Retry-After`` when it is known."""

    status_code = status.HTTP_503_SERVICE_UNAVAILABLE

    def __init__(self, error: OntraportUnavailable) -> None:
        super().__init__({"error": "ontraport_unavailable"})
        self.wait = error.retry_after


class OntraportConnected(BasePermission):  # type: ignore[misc]  # the same
    """Lets a view run only with a usable account: the default one, or the one whose ``uid`` is in the URL.

    The view names that argument of the URL in ``ontraport_account``.
    """

    def has_permission(self, request: Request, view: APIView) -> bool:
        if person_of(request) is None:
            return False
        name: str | None = getattr(view, "ontraport_account", None)
        account = find_account(request, None if name is None else view.kwargs[name])
        if account is None:
            raise NotConnected(request, None)
        try:
            using.prepare(account)
        except ReconnectRequired:
            raise NotConnected(request, account) from None
        except OntraportUnavailable as error:
            raise Unavailable(error) from None
        return True
