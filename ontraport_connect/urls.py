"""The URLs of the pages, in the namespace ``ontraport_connect``."""

from __future__ import annotations

from django.urls import path

from . import pages, staff

app_name = "ontraport_connect"

urlpatterns = [
    path("", pages.accounts, name="accounts"),
    path("connect/", pages.connect, name="connect"),
    path("connect/key/", pages.connect_key, name="connect_key"),
    path("callback/", pages.callback, name="callback"),
    path("problem/<slug:code>/", pages.problem, name="problem"),
    path("health/", staff.health, name="health"),
    path("metrics/", staff.metrics, name="metrics"),
    path("client.json", pages.client_metadata, name="client_metadata"),
    path("<uuid:uid>/reconnect/", pages.reconnect, name="reconnect"),
    path("<uuid:uid>/rename/", pages.rename, name="rename"),
    path("<uuid:uid>/default/", pages.make_default, name="make_default"),
    path("<uuid:uid>/disconnect/", pages.disconnect, name="disconnect"),
]
