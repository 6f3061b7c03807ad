"""What the views of the pages have in common: privacy, sign-in, and the language after Ontraport."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.conf import settings
from django.conf.urls.i18n import is_language_prefix_patterns_used
from django.core.exceptions import PermissionDenied
from django.db import connections, transaction
from django.http import HttpRequest, HttpResponse
from django.utils import translation
from django.views.decorators.cache import never_cache
from django.views.decorators.clickjacking import xframe_options_deny
from django.views.decorators.csrf import csrf_protect
from django.views.decorators.http import require_POST

from ontraport_connect.exceptions import OntraportMisconfigured
from ontraport_connect.models import acting, actor_of

from . import responses, tenancy

View = Callable[..., HttpResponse]


def private(view: View) -> View:
    """Forbid caching and framing of a view's page, and keep its address from other sites.

    The referrer is kept within this site, because Django's CSRF protection checks it.
    """

    @wraps(view)
    def wrapper(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        with acting(lambda: actor_of(request)):
            response = view(request, *args, **kwargs)
        response.headers.setdefault("Referrer-Policy", "same-origin")
        return response

    return xframe_options_deny(never_cache(wrapper))


def page(view: View) -> View:
    """Make a view a private page that requires an active, signed-in user.

    A form without a CSRF token, or made for another tenant than the request's, does not reach the view. Who may not do what the view does
    reads why. Where ``ONTRAPORT_MAY`` cannot be asked, nothing is done, and the answer says that the operator has to act.
    """

    @wraps(view)
    def wrapper(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        try:
            if tenancy.is_nobody(request):
                return responses.not_signed_in(request)
            if tenancy.is_for_another_tenant(request):
                return responses.switched_tenant(request)
            return view(request, *args, **kwargs)
        except OntraportMisconfigured as error:
            return responses.misconfigured(request, error)
        except PermissionDenied:
            return responses.not_permitted(request)

    return private(csrf_protect(wrapper))


def outside_transactions(view: View) -> View:
    """Leave out a view that calls Ontraport where requests are atomic, on whichever database: what it notes before a call has to be seen by
    other processes, and no transaction is open while Ontraport answers.
    """
    for name in connections:
        view = transaction.non_atomic_requests(using=name)(view)
    return view


def posted_page(view: View) -> View:
    """Make a view a page that is posted only. Who opens its address is told so, with a way on (status 405).

    ``LoginRequiredMiddleware`` reads ``redirect_field_name``: without one, nobody is led to this address by GET after signing in.
    """
    posted_only = require_POST(view)

    @wraps(view)
    def explained(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if request.method in {"GET", "HEAD"}:
            return responses.only_posted(request)
        return posted_only(request, *args, **kwargs)

    wrapper: Any = page(explained)
    wrapper.redirect_field_name = None
    posted: View = wrapper
    return posted


def in_own_language(view: View) -> View:
    """Run the callback in the person's language where the language is in the path.

    The redirect URI is one path, in the site's default language; the person may have started in another.
    """

    @wraps(view)
    def wrapper(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        urlconf = getattr(request, "urlconf", settings.ROOT_URLCONF)
        if not is_language_prefix_patterns_used(urlconf)[0]:
            return view(request, *args, **kwargs)
        with translation.override(translation.get_language_from_request(request)):
            return view(request, *args, **kwargs)

    return wrapper
