"""One page for each kind of trouble with Ontraport: what happened, who has to act, and one way on."""

import math
from dataclasses import dataclass

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from ontraport_connect.exceptions import OntraportError, OntraportMisconfigured, OntraportUnavailable


@dataclass(frozen=True, kw_only=True)
class Problem:
    status: int
    heading: str
    explanation: str


AWAY = Problem(
    status=503,
    heading="Ontraport isn't responding",
    explanation="Nothing is lost, and your account stays connected. It usually helps to wait a moment.",
)
OURS = Problem(
    status=500,
    heading="This site cannot talk to Ontraport",
    explanation="It's a problem on our side. Your account stays connected. Please come back later, and tell us if it lasts.",
)
REFUSED = Problem(
    status=502,
    heading="Ontraport refused this request",
    explanation="The account may not be allowed to see what this page shows. Ask whoever runs it in Ontraport.",
)


def problem_of(error: OntraportError) -> Problem:
    if isinstance(error, OntraportUnavailable):
        return AWAY
    if isinstance(error, OntraportMisconfigured):
        return OURS
    return REFUSED


def problem_page(request: HttpRequest, error: OntraportError) -> HttpResponse:
    problem = problem_of(error)
    response = render(request, "backoffice/problem.html", {"problem": problem}, status=problem.status)
    if isinstance(error, OntraportUnavailable) and error.retry_after:
        response.headers["Retry-After"] = str(math.ceil(error.retry_after))
    return response
