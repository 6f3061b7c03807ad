"""The pages of the shop's back office."""

from typing import Protocol

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from example_project.backoffice.contacts import first_contacts
from ontraport_connect.decorators import ontraport_required
from ontraport_connect.models import OntraportAccount


class Linked(Protocol):
    account: OntraportAccount


class LinkedRequest(HttpRequest):
    """A request behind ``@ontraport_required``: it has a usable account."""

    ontraport: Linked


def dashboard(request: HttpRequest) -> HttpResponse:
    """What the site is, and how the link of the person who looks is doing."""
    return render(request, "backoffice/dashboard.html")


@ontraport_required
def contacts(request: LinkedRequest) -> HttpResponse:
    """Contacts of the linked account. When Ontraport does not answer, `ProblemPageMiddleware` does."""
    account = request.ontraport.account
    return render(request, "backoffice/contacts.html", {"account": account, "contacts": first_contacts(account)})
