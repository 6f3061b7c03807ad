"""Watch and steer the stand-in: a page for people at ``/``, the same for programs under ``/control/``."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import wraps
from typing import Any
from uuid import UUID

from django import forms
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.shortcuts import render
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST, require_safe
from oauth2_provider.settings import oauth2_settings

from ontraport_connect.sandbox import ACCOUNTS, CHOICES, FAULT_KINDS, LESSONS, PASSWORD, Fault

from .grants import all_grants, revoke_all_grants, revoke_grant
from .seeding import CLIENTS
from .world import ORIGIN, stand_in

TARGET_CHOICES = {
    "all": "Everything below",
    "token": "Token endpoint",
    "revoke": "Revocation endpoint",
    "mcp": "MCP",
    "rest": "REST",
}


def _choice(name: str) -> forms.ChoiceField:
    return forms.ChoiceField(choices=list(CHOICES[name].items()), required=False)


class SettingsForm(forms.Form):
    """The settings of the control page. A field that is left out keeps its value."""

    access_token_lifetime = forms.IntegerField(min_value=1, required=False)
    send_expires_in = forms.NullBooleanField(required=False)
    refresh_token_lifetime = forms.IntegerField(min_value=0, required=False)
    refresh_token_grace = forms.FloatField(min_value=0, required=False)
    one_grant_per_client = forms.NullBooleanField(required=False)
    issuer = forms.CharField(max_length=200, required=False)
    rate_limit = forms.IntegerField(min_value=0, required=False)
    rate_window = forms.FloatField(min_value=0.1, required=False)
    contacts = forms.IntegerField(min_value=0, max_value=20_000, required=False)
    mcp_sessions = _choice("mcp_sessions")
    mcp_unknown_session = _choice("mcp_unknown_session")
    mcp_session_idle = forms.FloatField(min_value=0, required=False)
    mcp_stream = forms.FloatField(min_value=0, max_value=600, required=False)
    mcp_versions = _choice("mcp_versions")
    mcp_results = _choice("mcp_results")
    mcp_errors_in_results = forms.NullBooleanField(required=False)
    mcp_list_first = forms.NullBooleanField(required=False)
    mcp_keys = _choice("mcp_keys")

    def changes(self) -> dict[str, Any]:
        """Return what was sent, each value of its own type."""
        found = {name: value for name, value in self.cleaned_data.items() if name in self.data and value is not None}
        changes = {name: value for name, value in found.items() if value != "" or name == "issuer"}
        if "mcp_unknown_session" in changes:
            changes["mcp_unknown_session"] = int(changes["mcp_unknown_session"])
        return changes


class FaultForm(forms.Form):
    fault = forms.ChoiceField(choices=list(FAULT_KINDS.items()))
    fault_target = forms.ChoiceField(choices=list(TARGET_CHOICES.items()), required=False)
    fault_seconds = forms.FloatField(min_value=0, max_value=600, required=False)
    fault_count = forms.IntegerField(min_value=0, required=False)
    retry_after = forms.CharField(max_length=200, required=False)

    def to_fault(self) -> Fault:
        seconds = self.cleaned_data["fault_seconds"]
        return Fault(
            kind=self.cleaned_data["fault"],
            seconds=5 if seconds is None else seconds,
            remaining=self.cleaned_data["fault_count"] or 0,
            retry_after=self.cleaned_data["retry_after"],
        )


def current_state() -> dict[str, Any]:
    return {
        "origin": ORIGIN,
        **stand_in.switches.snapshot(),
        "grants": all_grants(),
        "requests": stand_in.log.entries(),
    }


def switch(name: str, value: Any) -> dict[str, Any]:
    """Return how a switch is shown: its words, what it teaches, and its input."""
    choices: Mapping[str, str] = {"true": "Yes", "false": "No"} if isinstance(value, bool) else CHOICES.get(name, {})
    return {
        "name": name,
        **LESSONS[name]._asdict(),
        "value": str(value).lower() if choices else value,
        "choices": choices,
        "input": "text" if isinstance(value, str) else "number",
    }


def page(request: HttpRequest) -> HttpResponse:
    context = current_state()
    settings = {name: context[name] for name in SettingsForm.base_fields}
    context.update(
        accounts=ACCOUNTS.values(),
        clients=CLIENTS,
        password=PASSWORD,
        fault_kinds=FAULT_KINDS,
        fault_targets=TARGET_CHOICES,
        switches=[switch(name, value) for name, value in settings.items() if not name.startswith("mcp_")],
        mcp_switches=[switch(name, value) for name, value in settings.items() if name.startswith("mcp_")],
        grants=context["grants"][:50],
        older_grants=len(context["grants"][50:]),
        requests=[{**entry, "at": datetime.fromtimestamp(entry["at"], UTC)} for entry in context["requests"][:30]],
        active_faults=[
            {"target": TARGET_CHOICES[target], "kind": FAULT_KINDS[fault["kind"]], "remaining": fault["remaining"]}
            for target, fault in context["faults"].items()
        ],
    )
    return render(request, "control.html", context)


def done(request: HttpRequest) -> HttpResponse:
    """Redirect a person back to the page, and give a program the new state."""
    if "text/html" in request.headers.get("Accept", ""):
        return HttpResponseRedirect("/")
    return JsonResponse(current_state())


def posted(request: HttpRequest) -> dict[str, Any]:
    if request.content_type != "application/json":
        return request.POST.dict()
    try:
        data = json.loads(request.body)
    except ValueError:
        return {}
    return data if isinstance(data, dict) else {}


def steering(view: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """Make a view that is posted to by programs, without a token, and by the page of this server. Browsers send ``Origin``: a form or
    script of another website is refused.
    """

    @csrf_exempt
    @require_POST
    @wraps(view)
    def wrapper(request: HttpRequest) -> HttpResponse:
        sender = request.headers.get("Origin", ORIGIN).partition("://")[2]
        if sender not in {ORIGIN.partition("://")[2], request.get_host()}:
            return JsonResponse({"errors": {"Origin": ["Another website may not steer the stand-in."]}}, status=403)
        return view(request)

    return wrapper


def pass_on_to_the_toolkit() -> None:
    """Set what django-oauth-toolkit reads from its own settings."""
    oauth2_settings.REFRESH_TOKEN_GRACE_PERIOD_SECONDS = stand_in.switches.settings.refresh_token_grace


@require_safe
def state(request: HttpRequest) -> HttpResponse:
    return JsonResponse(current_state())


@steering
def change_settings(request: HttpRequest) -> HttpResponse:
    data = posted(request)
    unknown = data.keys() - SettingsForm.base_fields.keys() - FaultForm.base_fields.keys()
    if unknown:
        return JsonResponse({"errors": {name: ["There is no such setting."] for name in sorted(unknown)}}, status=400)
    form, fault = SettingsForm(data), FaultForm(data)
    valid = form.is_valid() and ("fault" not in data or fault.is_valid())
    if not valid:
        return JsonResponse({"errors": form.errors | (fault.errors if "fault" in data else {})}, status=400)
    changes = form.changes()
    is_resized = changes.get("contacts", stand_in.switches.settings.contacts) != stand_in.switches.settings.contacts
    stand_in.switches.change(changes)
    pass_on_to_the_toolkit()
    if is_resized:
        stand_in.seed()
    if "fault" in data:
        stand_in.switches.set_fault(fault.cleaned_data["fault_target"] or "all", fault.to_fault())
    return done(request)


@steering
def revoke(request: HttpRequest) -> HttpResponse:
    grant = posted(request).get("grant", "all")
    if grant == "all":
        revoke_all_grants()
        return done(request)
    try:
        family = UUID(str(grant))
    except ValueError:
        raise Http404 from None
    if not revoke_grant(family):
        raise Http404
    return done(request)


@steering
def reset(request: HttpRequest) -> HttpResponse:
    stand_in.reset()
    pass_on_to_the_toolkit()
    return done(request)
