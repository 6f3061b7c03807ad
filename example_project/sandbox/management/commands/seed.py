from typing import Any

from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand, CommandParser
from oauth2_provider.models import get_application_model

from example_project.sandbox.accounts import ACCOUNTS, PASSWORD

# Any port of a loopback host is accepted (RFC 8252, 7.3).
LOOPBACK_REDIRECT_URIS = ["http://127.0.0.1/ontraport/callback/", "http://localhost/ontraport/callback/"]


class Command(BaseCommand):
    help = "Create the people and the clients of the sandbox, or set them right again."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--redirect-uri", action="append", dest="redirect_uris", default=[])

    def handle(self, *args: Any, **options: Any) -> None:
        users = get_user_model().objects
        for username in ACCOUNTS:
            user, _ = users.get_or_create(username=username)
            user.set_password(PASSWORD)
            user.save()
        redirect_uris = " ".join([*LOOPBACK_REDIRECT_URIS, *options["redirect_uris"]])
        for client_id, client_type, client_secret, name in [
            ("sandbox-client", "confidential", "sandbox-secret", "Example shop"),
            ("sandbox-public", "public", "", "Example shop (public client)"),
        ]:
            get_application_model().objects.update_or_create(
                client_id=client_id,
                defaults={
                    "client_type": client_type,
                    "client_secret": client_secret,
                    "hash_client_secret": False,
                    "authorization_grant_type": "authorization-code",
                    "name": name,
                    "redirect_uris": redirect_uris,
                },
            )
