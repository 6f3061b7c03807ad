"""The addresses of the stand-in: those of Ontraport, a log-in page, and the control page."""

from django.contrib.auth.views import LoginView, LogoutView
from django.urls import include, path
from oauth2_provider.views import DynamicClientRegistrationManagementView, RevokeTokenView

from . import authorization, control, views

# django-oauth-toolkit reverses its endpoints in this namespace.
oauth_urls = (
    [
        path("authorize", authorization.AuthorizationView.as_view(), name="authorize"),
        path("token", authorization.TokenView.as_view(), name="token"),
        path("revoke", RevokeTokenView.as_view(), name="revoke-token"),
        path("register", authorization.RegistrationView.as_view(), name="dcr-register"),
        path(
            "register/<str:client_id>",
            DynamicClientRegistrationManagementView.as_view(),
            name="dcr-register-management",
        ),
    ],
    "oauth2_provider",
)

handler400 = views.bad_request
urlpatterns = [
    path("", views.root),
    path("1/<path:path>", views.rest),
    path("oauth/", include(oauth_urls)),
    path(".well-known/oauth-authorization-server", authorization.server_metadata),
    path(".well-known/oauth-protected-resource", views.resource_metadata),
    path("login", LoginView.as_view(template_name="login.html"), name="login"),
    path("logout", LogoutView.as_view(), name="logout"),
    path("control/state", control.state),
    path("control/settings", control.change_settings, name="control-settings"),
    path("control/revoke", control.revoke, name="control-revoke"),
    path("control/reset", control.reset, name="control-reset"),
]
