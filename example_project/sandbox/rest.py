"""The REST API of api.ontraport.com under ``/1/``: a key pair on every request, and no OAuth."""

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_GET

from example_project.sandbox.accounts import Account, account_with_key
from example_project.sandbox.objects import InvalidQueryError, page, select, with_fields
from example_project.sandbox.rate_limit import rate_limit

Endpoint = Callable[[Account, dict[str, str]], Any]
LIST_FIELDS = ["firstname", "lastname", "email", "company"]


def plain(text: str, status: int) -> HttpResponse:
    return HttpResponse(text, status=status, content_type="text/plain")


def rest_endpoint(endpoint: Endpoint) -> Callable[[HttpRequest], HttpResponse]:
    """Authenticate, count against the rate limit, and wrap what the endpoint returns in Ontraport's envelope."""

    @csrf_exempt
    @require_GET
    @wraps(endpoint)
    def view(request: HttpRequest) -> HttpResponse:
        account = account_with_key(request.headers.get("Api-Appid", ""), request.headers.get("Api-Key", ""))
        if account is None:
            return plain("Your App ID and API Key do not authenticate.", 401)
        allowance = rate_limit.take(account.account_id)
        if not allowance.allowed:
            response = plain("Rate limit exceeded.", 429)
        elif "objectID" not in request.GET:
            response = plain("Missing required parameter: objectID", 422)
        else:
            try:
                data = endpoint(account, request.GET.dict())
                response = JsonResponse({"code": 0, "data": data, "account_id": account.account_id})
            except InvalidQueryError as error:
                response = plain(str(error), 400)
        for name, value in allowance.headers.items():
            response[name] = value
        return response

    return view


@rest_endpoint
def objects(account: Account, query: dict[str, str]) -> Any:
    return with_fields(page(select(account, query), query), query)


@rest_endpoint
def get_info(account: Account, query: dict[str, str]) -> Any:
    return {
        "listFields": LIST_FIELDS,
        "listFieldSettings": [],
        "cardViewSettings": {"fields": LIST_FIELDS, "sort": {}},
        "viewMode": [],
        "count": str(len(select(account, query))),
    }
