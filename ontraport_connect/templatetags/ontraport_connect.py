"""``{% load ontraport_connect %}{% connect_ontraport %}``: the button, by the state of the link."""

from __future__ import annotations

from typing import Any

from django import template
from django.template.context import RequestContext

register = template.Library()


@register.inclusion_tag("ontraport_connect/button.html", takes_context=True)
def connect_ontraport(
    context: RequestContext, *, text: str = "", next: str = "", size: str = "medium"
) -> dict[str, Any]:
    """Render "Connect Ontraport", "Connected as …" with a way to manage it, or "Reconnect Ontraport".

    ``text`` replaces the words of the connect button; ``next`` is the path to come back to (this page if not given); ``size`` is
    ``small``, ``medium`` or ``large``. It needs ``request`` in the context and the middleware.
    """
    request = context["request"]
    accounts = getattr(request, "ontraport", None)
    if accounts is None:
        raise template.TemplateSyntaxError(
            "connect_ontraport needs ontraport_connect.middleware.OntraportMiddleware in MIDDLEWARE, after AuthenticationMiddleware."
        )
    return {
        "account": accounts.account,
        "csrf_token": context.get("csrf_token"),
        "next": next or request.get_full_path(),
        "text": text,
        "size": size if size in {"small", "medium", "large"} else "medium",
    }
