"""``seed``: makes the people and the OAuth clients of the stand-in."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand

from ontraport_connect.sandbox.server.seeding import Client, seed


class Command(BaseCommand):
    help = "Create the people and the clients of the sandbox, or set them right again."
    stealth_options = ("redirect_uris", "client_id", "client_secret")

    def handle(self, *args: Any, redirect_uris: list[str], client_id: str, client_secret: str, **options: Any) -> None:
        seed(redirect_uris, Client(client_id, client_secret, "Your site") if client_id else None)
