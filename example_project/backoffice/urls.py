from django.urls import path

from . import views

app_name = "backoffice"

urlpatterns = [
    path("", views.dashboard, name="dashboard"),
    path("contacts/", views.contacts, name="contacts"),
    path("connections/", views.connections, name="connections"),
]
