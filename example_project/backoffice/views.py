"""The pages of the shop's back office."""

from typing import Protocol

from django.contrib.auth.decorators import login_required
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
    """Show what the site is, and the state of the person's link."""
    return render(request, "backoffice/dashboard.html")


@login_required
def connections(request: HttpRequest) -> HttpResponse:
    """Show the person's links, drawn by a script from the JSON of `ontraport_connect`."""
    return render(request, "backoffice/connections.html")


@ontraport_required
def contacts(request: LinkedRequest) -> HttpResponse:
    """Show contacts of the linked account. When Ontraport fails, `ProblemPageMiddleware` answers."""
    account = request.ontraport.account
    return render(request, "backoffice/contacts.html", {"account": account, "contacts": first_contacts(account)})
