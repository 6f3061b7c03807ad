"""For templates of Jinja2: the connect button. Add it to the globals of your environment."""

from __future__ import annotations

from django.http import HttpRequest
from django.template.loader import render_to_string

from . import pages


def connect_ontraport(
    request: HttpRequest | None,
    *,
    text: str = "",
    next: str = "",  # noqa: A002  # Django's usual name for it
    size: str = "medium",
    theme: str = "auto",
) -> str:
    """Return the button as safe HTML; ``{{ connect_ontraport(request) }}`` takes the arguments of ``{% connect_ontraport %}``.

    The button's own template is one of Django's, so that the site needs that engine, too (as the admin does).
    """
    context = pages.button(request, text=text, next_url=next, size=size, theme=theme)
    return render_to_string("ontraport_connect/button.html", context, request)
