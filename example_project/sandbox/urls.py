from django.contrib.auth.views import LoginView, LogoutView
from django.urls import include, path
from oauth2_provider.views import DynamicClientRegistrationManagementView, RevokeTokenView

from example_project.sandbox import authorization, control, mcp, rest

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

urlpatterns = [
    path("", mcp.root),
    path("1/objects", rest.objects),
    path("1/objects/getInfo", rest.get_info),
    path("oauth/", include(oauth_urls)),
    path(".well-known/oauth-authorization-server", authorization.server_metadata),
    path(".well-known/oauth-protected-resource", mcp.resource_metadata),
    path("login", LoginView.as_view(template_name="sandbox/login.html"), name="login"),
    path("logout", LogoutView.as_view(), name="logout"),
    path("control/state", control.state),
    path("control/settings", control.change_settings, name="control-settings"),
    path("control/revoke", control.revoke, name="control-revoke"),
    path("control/reset", control.reset, name="control-reset"),
]
