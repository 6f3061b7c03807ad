"""A site under ASGI, whose views use an account: one in a thread, one in the event loop. For a child process, as ``ROOT_URLCONF``."""

from __future__ import annotations

from django.apps import apps
from django.core.asgi import get_asgi_application
from django.http import HttpRequest, JsonResponse
from django.urls import path

application = get_asgi_application()

accounts = apps.get_model("ontraport_connect", "OntraportAccount").objects


def sync_view(request: HttpRequest) -> JsonResponse:
    return JsonResponse(accounts.get(uid=request.GET["uid"]).mcp("count_objects", objectID="0"))


async def async_view(request: HttpRequest) -> JsonResponse:
    account = await accounts.aget(uid=request.GET["uid"])
    return JsonResponse(await account.amcp("count_objects", objectID="0"))


urlpatterns = [path("sync/", sync_view), path("async/", async_view)]
