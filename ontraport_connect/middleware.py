"""``request.ontraport``: the links of whoever makes the request, looked up when first asked for, and not before."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import cached_property
from typing import Any, cast
from uuid import UUID

from asgiref.sync import iscoroutinefunction, markcoroutinefunction, sync_to_async
from django.http import HttpRequest
from django.http.response import HttpResponseBase

from . import pages, using
from .exceptions import ReconnectRequired
from .models import OntraportAccount


class RequestAccounts:
    """The Ontraport accounts of one request; truthy when there is a connected one."""

    def __init__(self, request: HttpRequest) -> None:
        self._request = request

    @cached_property
    def accounts(self) -> Sequence[OntraportAccount]:
        """All accounts of this owner, the default one first."""
        return list(OntraportAccount.objects.for_request(self._request).select_related("user"))

    @property
    def account(self) -> OntraportAccount | None:
        """The default account, else the first that is connected, else the first; ``None`` where nothing was ever linked."""
        default = [account for account in self.accounts if account.is_default]
        connected = [account for account in self.accounts if account.is_connected]
        return next(iter([*default, *connected, *self.accounts]), None)

    def get(self, uid: UUID | str) -> OntraportAccount | None:
        """Return the account with this handle if this owner has it."""
        return next((account for account in self.accounts if str(account.uid) == str(uid)), None)

    async def aload(self) -> RequestAccounts:
        """Look the accounts up in an async view; the other members need no waiting afterwards."""
        await sync_to_async(lambda: self.accounts)()
        return self

    def __bool__(self) -> bool:
        return any(account.is_connected for account in self.accounts)


class OntraportMiddleware:
    """Gives each request its ``ontraport``, and sends a person whose link has ended during a view to where it is mended."""

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
            return self.get_response(request)

    async def _respond(self, request: HttpRequest) -> HttpResponseBase:
        with using.in_request():
            return await cast("Awaitable[HttpResponseBase]", self.get_response(request))

    def process_exception(self, request: HttpRequest, exception: Exception) -> Any:
        """Answer a ``ReconnectRequired`` that a view let through, where the account is one that this person could reconnect."""
        if not isinstance(exception, ReconnectRequired):
            return None
        accounts = RequestAccounts(request)
        account = accounts.account if exception.account_uid is None else accounts.get(exception.account_uid)
        return None if account is None else pages.not_usable(request, account)
