"""Pages that use an account, for a server that starts Python without threads: inside a transaction, and outside of one."""

from __future__ import annotations

from django.db import transaction
from django.http import HttpRequest, JsonResponse
from django.urls import include, path

from ontraport_connect.models import OntraportAccount


def call(request: HttpRequest) -> JsonResponse:
    return JsonResponse(OntraportAccount.objects.get(uid=request.GET["uid"]).mcp("count_objects", objectID="0"))


urlpatterns = [
    path("call/", call),
    path("atomic/", transaction.atomic(call)),
    path("ontraport/", include("ontraport_connect.urls")),
]
