"""Watch and steer the sandbox: a page for people at ``/``, the same for programs under ``/control/``."""

import json
from typing import Any
from uuid import UUID

from django import forms
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.shortcuts import render
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST, require_safe

from example_project.sandbox.accounts import ACCOUNTS, PASSWORD
from example_project.sandbox.grants import all_grants, revoke_all_grants, revoke_grant
from example_project.sandbox.rate_limit import rate_limit
from example_project.sandbox.settings import ORIGIN
from example_project.sandbox.state import FAULT_KINDS, Fault, controls

TARGET_CHOICES = {
    "all": "Everything below",
    "token": "Token endpoint",
    "revoke": "Revocation endpoint",
    "mcp": "MCP",
    "rest": "REST",
}


class SettingsForm(forms.Form):
    """The settings of the control page. A field that is left out keeps its value."""

    access_token_lifetime = forms.IntegerField(min_value=1, required=False)
    send_expires_in = forms.NullBooleanField(required=False)
    rate_limit = forms.IntegerField(min_value=0, required=False)
    rate_window = forms.FloatField(min_value=0.1, required=False)
    contacts = forms.IntegerField(min_value=0, max_value=20_000, required=False)
    one_grant_per_client = forms.NullBooleanField(required=False)


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
    return {"origin": ORIGIN, **controls.snapshot(), "grants": all_grants()}


def page(request: HttpRequest) -> HttpResponse:
    context = current_state()
    context.update(
        accounts=ACCOUNTS.values(),
        password=PASSWORD,
        fault_kinds=FAULT_KINDS,
        fault_targets=TARGET_CHOICES,
        grants=context["grants"][:50],
        older_grants=len(context["grants"][50:]),
        active_faults=[
            {"target": TARGET_CHOICES[target], "kind": FAULT_KINDS[fault["kind"]], "remaining": fault["remaining"]}
            for target, fault in context["faults"].items()
        ],
    )
    return render(request, "sandbox/control.html", context)


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


@require_safe
def state(request: HttpRequest) -> HttpResponse:
    return JsonResponse(current_state())


@csrf_exempt
@require_POST
def change_settings(request: HttpRequest) -> HttpResponse:
    data = posted(request)
    unknown = data.keys() - SettingsForm.base_fields.keys() - FaultForm.base_fields.keys()
    if unknown:
        return JsonResponse({"errors": {name: ["There is no such setting."] for name in sorted(unknown)}}, status=400)
    changes, fault = SettingsForm(data), FaultForm(data)
    valid = changes.is_valid() and ("fault" not in data or fault.is_valid())
    if not valid:
        return JsonResponse({"errors": changes.errors | (fault.errors if "fault" in data else {})}, status=400)
    controls.change({name: value for name, value in changes.cleaned_data.items() if value is not None})
    if "fault" in data:
        controls.set_fault(fault.cleaned_data["fault_target"] or "all", fault.to_fault())
    return done(request)


@csrf_exempt
@require_POST
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


@csrf_exempt
@require_POST
def reset(request: HttpRequest) -> HttpResponse:
    controls.reset()
    rate_limit.clear()
    return done(request)
