"""``@ontraport_required`` and ``OntraportRequiredMixin``: views that need a usable Ontraport account."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar, overload

from asgiref.sync import iscoroutinefunction, sync_to_async
from django.http import Http404, HttpRequest
from django.http.response import HttpResponseBase

from . import pages, using
from .exceptions import OntraportUnavailable, ReconnectRequired
from .middleware import RequestAccounts
from .models import OntraportAccount, person_of

View = Callable[..., Any]
AnyView = TypeVar("AnyView", bound=View)


def check_request(request: HttpRequest, uid: object = None) -> HttpResponseBase | None:
    """Return the response that replaces the view, or ``None`` if the account is usable.

    The account is the one with ``uid``, else the default. Raises ``Http404`` if the owner has no such account, and
    ``OntraportMisconfigured`` if a setting prevents getting a token.
    """
    if person_of(request) is None:
        return pages.not_signed_in(request)
    account = find_account(request, uid)
    if account is None:
        return pages.not_usable(request, None)
    try:
        using.prepare(account)
    except ReconnectRequired:
        return pages.not_usable(request, account)
    except OntraportUnavailable as error:
        return pages.unavailable(request, error)
    return None


def find_account(request: HttpRequest, uid: object = None) -> OntraportAccount | None:
    """Return the account with ``uid``, else the default one, if there is any. Raises ``Http404`` for an unknown ``uid``."""
    accounts: RequestAccounts = request.ontraport  # type: ignore[attr-defined]
    if uid is None:
        return accounts.account
    account = accounts.get(str(uid))
    if account is None:
        raise Http404("No such Ontraport account.")
    return account


@overload
def ontraport_required(view: AnyView) -> AnyView: ...
@overload
def ontraport_required(*, account: str) -> Callable[[AnyView], AnyView]: ...
def ontraport_required(view: View | None = None, *, account: str | None = None) -> Any:
    """Run the view, sync or async, only with a usable account; else redirect to connect or reconnect, and back.

    ``account`` is the name of the URL argument that holds an account's ``uid``, for views of one account among several. A client that
    prefers JSON gets 401 with a JSON body. While Ontraport cannot be reached, the answer is 503.
    """

    def decorate(view: View) -> View:
        def uid_of(kwargs: dict[str, Any]) -> object:
            return None if account is None else kwargs[account]

        if iscoroutinefunction(view):

            @wraps(view)
            async def async_wrapper(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
                return await _run_async(view, request, uid_of(kwargs), args, kwargs)

            async_wrapper.needs_ontraport = True  # type: ignore[attr-defined]
            return async_wrapper

        @wraps(view)
        def wrapper(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
            replacement = check_request(request, uid_of(kwargs))
            return view(request, *args, **kwargs) if replacement is None else replacement

        wrapper.needs_ontraport = True  # type: ignore[attr-defined]
        return wrapper

    return decorate if view is None else decorate(view)


class OntraportRequiredMixin:
    """``ontraport_required`` for class-based views. ``ontraport_account`` is the name of the URL argument that holds the ``uid``.

    On a view of Django REST framework the account is checked after authentication and permissions.
    """

    ontraport_account: str | None = None
    needs_ontraport = True
    view_is_async: bool
    kwargs: dict[str, Any]

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        inner: View = super().dispatch  # type: ignore[misc]  # that of the view this is mixed into
        if hasattr(self, "initialize_request"):  # Django REST framework; see check_throttles
            return inner(request, *args, **kwargs)
        uid = None if self.ontraport_account is None else kwargs[self.ontraport_account]
        if self.view_is_async:
            return _run_async(inner, request, uid, args, kwargs)
        replacement = check_request(request, uid)
        return inner(request, *args, **kwargs) if replacement is None else replacement

    def check_throttles(self, request: Any) -> None:
        """Run the last step of Django REST framework before the handler: only now is the person of a token known."""
        super().check_throttles(request)  # type: ignore[misc]  # that of the view this is mixed into
        uid = None if self.ontraport_account is None else self.kwargs[self.ontraport_account]
        replacement = check_request(request, uid)
        if replacement is not None:
            setattr(self, request.method.lower(), lambda *args, **kwargs: replacement)


async def _run_async(
    view: View, request: HttpRequest, uid: object, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    replacement = await sync_to_async(check_request)(request, uid)
    return await view(request, *args, **kwargs) if replacement is None else replacement
