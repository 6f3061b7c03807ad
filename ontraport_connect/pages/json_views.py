"""What the JSON views have in common, and the choice between page and JSON"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any

from django.http import Http404, HttpRequest, HttpResponse
from django.utils.cache import patch_vary_headers

from ontraport_connect.models import one_plain_line

from . import responses, tenancy
from .json_messages import BodyError, TextError, failure, read_body
from .view_decorators import page

View = Callable[..., HttpResponse]


def json_view(*methods: str) -> Callable[[View], View]:
    """Make a view of one that takes the request and its ``Body``: private, for those who are signed in, with errors as JSON."""

    def decorate(handler: View) -> View:
        @page
        @wraps(handler)
        def view(request: HttpRequest, **arguments: Any) -> HttpResponse:
            method = "GET" if request.method == "HEAD" else request.method
            if method not in methods:
                response = failure("method_not_allowed", 405)
                response["Allow"] = ", ".join(methods)
                return response
            return _run(handler, request, arguments)

        return view

    return decorate


def _run(handler: View, request: HttpRequest, arguments: Mapping[str, Any]) -> HttpResponse:
    """Run a view with the body of its request. What is wrong with the body, or gone, becomes JSON; ``page`` answers for the rest."""
    try:
        body = read_body(request)
        if body.says_otherwise(tenancy.MADE_FOR, tenancy.mark_of(request)):
            return failure("tenant_switched", 409)
        return handler(request, body, **arguments)
    except BodyError:
        return failure("invalid_json", 400)
    except TextError as error:
        return failure("invalid", 422, fields={error.name: [str(one_plain_line.message)]})
    except Http404:
        return failure("not_found", 404)


def negotiated(html: View, json: View) -> View:
    """Return a view that answers with JSON who prefers it or sends it, and everybody else with the page. Its attributes are the page's."""

    @wraps(html)
    def view(request: HttpRequest, **arguments: Any) -> HttpResponse:
        response = (json if responses.wants_json(request) else html)(request, **arguments)
        patch_vary_headers(response, ["Accept"])
        return response

    return view
