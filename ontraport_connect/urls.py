from __future__ import annotations

from django.urls import path

from . import views

app_name = "ontraport_connect"

urlpatterns = [
    path("", views.accounts, name="accounts"),
    path("connect/", views.connect, name="connect"),
    path("connect/key/", views.connect_key, name="connect_key"),
    path("callback/", views.callback, name="callback"),
    path("problem/<slug:code>/", views.problem, name="problem"),
    path("client.json", views.client_metadata, name="client_metadata"),
    path("<uuid:uid>/reconnect/", views.reconnect, name="reconnect"),
    path("<uuid:uid>/rename/", views.rename, name="rename"),
    path("<uuid:uid>/default/", views.make_default, name="make_default"),
    path("<uuid:uid>/disconnect/", views.disconnect, name="disconnect"),
]
