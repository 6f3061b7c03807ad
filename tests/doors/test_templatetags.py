"""The connect button in an adopter's template."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import AnonymousUser
from django.http import HttpRequest
from django.template import RequestContext, Template, TemplateSyntaxError
from django.template.backends.django import DjangoTemplates
from django.test import RequestFactory, override_settings

from ontraport_connect.middleware import RequestAccounts
from ontraport_connect.models import OntraportAccount, Status

pytestmark = pytest.mark.django_db


@pytest.fixture
def request_of_maya(rf: RequestFactory) -> HttpRequest:
    request = rf.get("/dashboard/?tab=1")
    request.user = get_user_model().objects.create_user("maya")
    return with_accounts(request)


def with_accounts(request: Any) -> HttpRequest:
    request.ontraport = RequestAccounts(request)
    checked: HttpRequest = request
    return checked


def button(request: HttpRequest, arguments: str = "") -> str:
    template = Template("{% load ontraport_connect %}{% connect_ontraport " + arguments + " %}")
    return template.render(RequestContext(request, {}))


def linked(request: HttpRequest, **values: Any) -> OntraportAccount:
    account: OntraportAccount = OntraportAccount.objects.create(user_id=request.user.pk, **values)
    return account


def test_without_a_link_it_posts_to_connect_and_comes_back_to_this_page(request_of_maya: HttpRequest) -> None:
    html = button(request_of_maya)
    assert '<form method="post" action="/ontraport/connect/">' in html
    assert "csrfmiddlewaretoken" in html
    assert 'name="next" value="/dashboard/?tab=1"' in html
    assert ">Connect Ontraport</button>" in html


def test_its_words_way_back_size_and_theme_can_be_chosen(request_of_maya: HttpRequest) -> None:
    html = button(request_of_maya, 'text="Link it" next="/there/" size="large" theme="dark"')
    assert ">Link it</button>" in html
    assert 'value="/there/"' in html
    assert "ontraport-large ontraport-dark" in html


def test_words_from_a_variable_are_escaped(request_of_maya: HttpRequest) -> None:
    template = Template("{% load ontraport_connect %}{% connect_ontraport text=words %}")
    html = template.render(RequestContext(request_of_maya, {"words": "<script>"}))
    assert "&lt;script&gt;" in html


def test_with_a_link_it_says_which_and_leads_to_managing_it(request_of_maya: HttpRequest) -> None:
    linked(request_of_maya, label="<Shop>")
    html = button(request_of_maya)
    assert "Connected as <strong><bdi>&lt;Shop&gt;</bdi></strong>" in html
    assert 'href="/ontraport/"' in html
    assert "<form" not in html


def test_with_a_link_that_has_ended_it_reconnects_that_one(request_of_maya: HttpRequest) -> None:
    account = linked(request_of_maya, status=Status.NEEDS_RECONNECT)
    html = button(request_of_maya, 'text="Connect it"')
    assert f'action="/ontraport/{account.uid}/reconnect/"' in html
    assert ">Reconnect Ontraport</button>" in html


def test_to_who_is_signed_out_it_offers_to_connect(rf: RequestFactory) -> None:
    request = rf.get("/")
    request.user = AnonymousUser()
    assert ">Connect Ontraport</button>" in button(with_accounts(request))


def test_who_may_not_link_for_their_tenant_reads_whom_to_ask(request_of_maya: HttpRequest) -> None:
    request_of_maya.META["HTTP_X_TENANT"] = "north"
    with override_settings(ONTRAPORT_TENANT="tests.support.pages.tenant_of_request"):
        html = button(request_of_maya)
    assert "Ask a workspace admin to connect it." in html
    assert "<form" not in html


@pytest.mark.parametrize("arguments", ['size="huge"', 'theme="blue"'])
def test_a_size_or_theme_that_there_is_not_is_said_to_the_developer(
    request_of_maya: HttpRequest, arguments: str
) -> None:
    with pytest.raises(TemplateSyntaxError, match="small, medium, large"):
        button(request_of_maya, arguments)


@override_settings(MIDDLEWARE=[])
def test_what_is_missing_in_the_settings_is_said_to_the_developer(rf: RequestFactory) -> None:
    with pytest.raises(TemplateSyntaxError, match="OntraportMiddleware in MIDDLEWARE"):
        button(rf.get("/"))


def test_it_needs_no_context_processor(request_of_maya: HttpRequest) -> None:
    options: dict[str, Any] = {"context_processors": []}
    engine = DjangoTemplates({"NAME": "bare", "DIRS": [], "APP_DIRS": True, "OPTIONS": options})
    html = engine.from_string("{% load ontraport_connect %}{% connect_ontraport %}").render({}, request_of_maya)
    assert "csrfmiddlewaretoken" in html
