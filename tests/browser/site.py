"""The site of the browser tests: the app's pages, and an adopter's page with every form of the button."""

from __future__ import annotations

from collections.abc import Callable

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.template import engines
from django.urls import include, path
from django.utils.translation import override

from ontraport_connect.decorators import ontraport_required
from ontraport_connect.exceptions import OntraportUnavailable
from ontraport_connect.pages import responses

SOURCES = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'"
POLICY = f"{SOURCES}; base-uri 'none'; frame-ancestors 'none'; form-action 'self'"

BUTTONS = """{% load ontraport_connect %}<!doctype html>
<html lang="{{ language }}" dir="{{ direction }}">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark"><title>An adopter's page</title><link rel="stylesheet" href="/site.css"></head>
<body><main><h1>An adopter's page</h1>
<p>{% connect_ontraport %}</p>
<p>{% connect_ontraport size="small" %}</p>
<p>{% connect_ontraport size="large" text="Link my Ontraport" next="/used/" %}</p>
</main></body></html>"""


class StrictPolicy:
    """Sends a Content-Security-Policy without any exception: forms may lead to this site only, not even to Ontraport."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        with override(request.GET.get("language", "en")):
            response = self.get_response(request)
        if not request.path.startswith("/admin/"):
            response["Content-Security-Policy"] = POLICY
        return response


def buttons(request: HttpRequest) -> HttpResponse:
    language = request.GET.get("language", "en")
    context = {"language": language, "direction": "rtl" if language == "ar" else "ltr"}
    return HttpResponse(engines["django"].from_string(BUTTONS).render(context, request))


def themes(request: HttpRequest) -> HttpResponse:
    source = "".join(
        f'<section class="{theme}"><h2>{theme}</h2>{{% connect_ontraport theme="{theme}" %}}</section>'
        for theme in ("auto", "light", "dark")
    )
    head = '<!doctype html><html lang="en"><title>Themes</title><main><h1>Themes</h1>{% load ontraport_connect %}'
    return HttpResponse(engines["django"].from_string(f"{head}{source}</main>").render({}, request))


def style_sheet(request: HttpRequest) -> HttpResponse:
    return HttpResponse(
        "html { background: Canvas; color: CanvasText; font-family: sans-serif }", content_type="text/css"
    )


@ontraport_required
def used(request: HttpRequest) -> HttpResponse:
    """A view of the adopter that needs a link."""
    return HttpResponse('<!doctype html><html lang="en"><title>Used</title><main><h1>Used</h1></main>')


def unavailable(request: HttpRequest) -> HttpResponse:
    return responses.unavailable(request, OntraportUnavailable("away", retry_after=30))


urlpatterns = [
    path("", buttons, name="buttons"),
    path("site.css", style_sheet),
    path("themes/", themes),
    path("used/", used),
    path("unavailable/", unavailable),
    path("admin/", admin.site.urls),
    path("ontraport/", include("ontraport_connect.urls")),
]
