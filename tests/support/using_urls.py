"""Pages of a site that uses the links of its customers: some plain, and some that run only with a usable account."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import include, path
from django.views import View

from ontraport_connect.decorators import OntraportRequiredMixin, ontraport_required
from ontraport_connect.exceptions import OntraportMisconfigured, OntraportUnavailable, ReconnectRequired


def plain(request: HttpRequest) -> HttpResponse:
    return HttpResponse("plain")


async def plain_async(request: HttpRequest) -> HttpResponse:
    return HttpResponse("plain")


def shown(account: Any) -> JsonResponse:
    return JsonResponse({"uid": str(account.uid), "label": account.label})


@ontraport_required
def required(request: Any) -> HttpResponse:
    return shown(request.ontraport.account)


@ontraport_required
async def required_async(request: Any) -> HttpResponse:
    return shown(request.ontraport.account)


@ontraport_required(account="uid")
def one(request: Any, uid: UUID) -> HttpResponse:
    return shown(request.ontraport.get(uid))


@ontraport_required(account="uid")
async def one_async(request: Any, uid: UUID) -> HttpResponse:
    return shown(request.ontraport.get(uid))


class Required(OntraportRequiredMixin, View):
    def get(self, request: Any) -> HttpResponse:
        return shown(request.ontraport.account)


class One(OntraportRequiredMixin, View):
    ontraport_account = "uid"

    def get(self, request: Any, uid: str) -> HttpResponse:
        return shown(request.ontraport.get(uid))


class RequiredAsync(OntraportRequiredMixin, View):
    async def get(self, request: Any) -> HttpResponse:
        return shown(request.ontraport.account)


async def seen_async(request: Any) -> HttpResponse:
    ontraport = await request.ontraport.aload()
    return JsonResponse({"connected": bool(ontraport), "accounts": len(ontraport.accounts)})


@ontraport_required
async def count_async(request: Any) -> HttpResponse:
    return JsonResponse(await request.ontraport.account.amcp("count_objects", objectID="0"))


def count(request: Any, uid: UUID) -> HttpResponse:
    return JsonResponse(request.ontraport.get(uid).mcp("count_objects", objectID="0"))


def gone(request: Any) -> HttpResponse:
    raise ReconnectRequired("the grant is gone")


def away(request: Any) -> HttpResponse:
    raise OntraportUnavailable("away", code="timeout", retry_after=7.2)


def not_set_up(request: Any) -> HttpResponse:
    raise OntraportMisconfigured("wrong secret", code="invalid_client")


async def away_async(request: Any) -> HttpResponse:
    raise OntraportUnavailable("away", code="timeout")


def broken(request: Any) -> HttpResponse:
    raise LookupError("nothing of ours")


urlpatterns = [
    path("ontraport/", include("ontraport_connect.urls")),
    path("plain/", plain),
    path("plain-async/", plain_async),
    path("required/", required),
    path("required-async/", required_async),
    path("required-class/", Required.as_view()),
    path("required-class-async/", RequiredAsync.as_view()),
    path("one/<uuid:uid>/", one),
    path("one-async/<uuid:uid>/", one_async),
    path("one-class/<str:uid>/", One.as_view()),
    path("seen-async/", seen_async),
    path("count-async/", count_async),
    path("count/<uuid:uid>/", count),
    path("gone/", gone),
    path("away/", away),
    path("away-async/", away_async),
    path("not-set-up/", not_set_up),
    path("broken/", broken),
]
