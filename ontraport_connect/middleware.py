"""``request.ontraport``: the links of the person making the request, looked up on first use."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol, cast
from uuid import UUID

from asgiref.sync import iscoroutinefunction, markcoroutinefunction, sync_to_async
from django.conf import settings
from django.core.exceptions import SynchronousOnlyOperation
from django.http import HttpRequest
from django.http.response import HttpResponseBase

from . import pages, refreshing, using
from .conf import tenant_of
from .exceptions import OntraportMisconfigured, OntraportUnavailable, ReconnectRequired
from .models import OntraportAccount, person_of, with_users

logger = logging.getLogger("ontraport_connect")


class RequestAccounts:
    """The Ontraport accounts of one request. Truthy if ``account`` is connected."""

    def __init__(self, request: HttpRequest) -> None:
        self._request = request
        self._owner: tuple[Any, str | None] | None = None
        self._accounts: Sequence[OntraportAccount] = ()

    @property
    def accounts(self) -> Sequence[OntraportAccount]:
        """All accounts of this owner, the default first.

        They are loaded once per person and tenant, both of which may change during a request: a view may call ``login()`` or switch
        the workspace. So the owner is determined at each access, and ``ONTRAPORT_TENANT`` is called each time.
        """
        owner = self._current_owner()
        if owner != self._owner:
            self._owner, self._accounts = None, ()
            if owner is not None:
                self._accounts = list(with_users(OntraportAccount.objects.for_owner(*owner)))
                self._owner = owner
        return self._accounts

    def _current_owner(self) -> tuple[Any, str | None] | None:
        """Return user pk and tenant, or ``None`` when nobody is signed in."""
        user = person_of(self._request)
        if user is None:
            return None
        try:
            return user.pk, tenant_of(self._request)
        except SynchronousOnlyOperation:
            if self._owner is None or self._owner[0] != user.pk:
                raise
            return (
                self._owner
            )  # an async view, and a tenant function that queries: the tenant is that of the last aload()

    @property
    def account(self) -> OntraportAccount | None:
        """The default account, else the first connected one, else the first; ``None`` if there is none."""
        accounts = self.accounts
        default = [account for account in accounts if account.is_default]
        connected = [account for account in accounts if account.is_connected]
        return next(iter([*default, *connected, *accounts]), None)

    def get(self, uid: UUID | str) -> OntraportAccount | None:
        """Return the account with this ``uid``, or ``None`` if this owner has no such account."""
        return next((account for account in self.accounts if str(account.uid) == str(uid)), None)

    async def aload(self) -> RequestAccounts:
        """Load the accounts in an async view. The other members can then be used without ``await``.

        Call it again after the tenant was switched, if ``ONTRAPORT_TENANT`` queries the database.
        """
        await sync_to_async(lambda: self.accounts)()
        return self

    def __bool__(self) -> bool:
        account = self.account
        return account is not None and account.is_connected


class ConnectedAccounts(Protocol):
    """What ``request.ontraport`` is in a view behind ``ontraport_required``, for type checkers: the account of the view is there.

    That is ``account``, or ``get(uid)`` with the ``uid`` that the decorator has checked.
    """

    @property
    def account(self) -> OntraportAccount: ...
    @property
    def accounts(self) -> Sequence[OntraportAccount]: ...
    def get(self, uid: UUID | str) -> OntraportAccount: ...


class OntraportRequest(HttpRequest):
    """A request behind the middleware, for annotations."""

    ontraport: RequestAccounts


class ConnectedRequest(HttpRequest):
    """The request of a view behind ``ontraport_required``, for annotations."""

    ontraport: ConnectedAccounts


class OntraportMiddleware:
    """Sets ``request.ontraport``, and answers what a view raises when it cannot use Ontraport: ``ReconnectRequired`` with a redirect to
    reconnect, ``OntraportUnavailable`` and ``OntraportMisconfigured`` with 503.
    """

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase | Awaitable[HttpResponseBase]]) -> None:
        self.get_response = get_response
        if iscoroutinefunction(get_response):
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> HttpResponseBase | Awaitable[HttpResponseBase]:
        request.ontraport = RequestAccounts(request)  # type: ignore[attr-defined]
        if iscoroutinefunction(self.get_response):
            return self._respond(request)
        with using.in_request():
            response = self.get_response(request)
        refreshing.recover_left()
        return response

    async def _respond(self, request: HttpRequest) -> HttpResponseBase:
        with using.in_request():
            response = await cast("Awaitable[HttpResponseBase]", self.get_response(request))
        if refreshing.has_left():
            await sync_to_async(refreshing.recover_left)()
        return response

    def process_exception(self, request: HttpRequest, exception: Exception) -> Any:
        """Answer an ``OntraportUnavailable`` that a view raised; and a ``ReconnectRequired``, if the account is one this person may see.

        ``OntraportMisconfigured`` is logged for the operator and answered, too; with ``DEBUG`` it is left to Django's page for developers.
        """
        if isinstance(exception, OntraportUnavailable):
            logger.warning("A page answers 503: %s (%s)", exception, exception.code)
            return pages.unavailable(request, exception)
        if isinstance(exception, OntraportMisconfigured) and not settings.DEBUG:
            logger.critical("A page answers 503: %s (%s)", exception, exception.code)
            return pages.not_set_up(request)
        if not isinstance(exception, ReconnectRequired):
            return None
        accounts = RequestAccounts(request)
        account = accounts.account if exception.account_uid is None else accounts.get(exception.account_uid)
        return None if account is None else pages.not_usable(request, account)
