"""Middleware around every view of the site."""

from collections.abc import Callable, Mapping, Sequence

from django.conf import settings
from django.http import HttpRequest, HttpResponse

from example_project.backoffice.problems import problem_page
from ontraport_connect.exceptions import OntraportError, ReconnectRequired

GetResponse = Callable[[HttpRequest], HttpResponse]


class ContentSecurityPolicyMiddleware:
    """Send ``settings.CONTENT_SECURITY_POLICY`` with every page except Django's own debug pages.

    From Django 6.0 on, `django.middleware.csp` does the same.
    """

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response
        policy: Mapping[str, Sequence[str]] = getattr(settings, "CONTENT_SECURITY_POLICY", {})
        self.policy = "; ".join(" ".join([directive, *sources]) for directive, sources in policy.items())

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        if not (settings.DEBUG and response.status_code in {404, 500}):
            response.headers.setdefault("Content-Security-Policy", self.policy)
        return response


class ProblemPageMiddleware:
    """Answer with a page for people when a view raises an error of `ontraport_connect`.

    `OntraportMiddleware` handles `ReconnectRequired`: it redirects to where the person can reconnect.
    """

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self.get_response(request)

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        if isinstance(exception, ReconnectRequired) or not isinstance(exception, OntraportError):
            return None
        return problem_page(request, exception)
