"""`manage.py demo_database`: create the tables of the demo, and two people who can sign in."""

from typing import Any

from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError

PASSWORD = "demo"  # noqa: S105 - shown on the demo's sign-in page


class Command(BaseCommand):
    help = "Migrates the demo's own database and creates maya (owner, may use the admin) and sam, password demo."
    requires_system_checks: list[str] = []

    def handle(self, *args: Any, **options: Any) -> None:
        call_command("migrate", verbosity=0)
        users = get_user_model()._default_manager
        if users.exclude(username__in=["maya", "sam"]).exists():
            raise CommandError("This database already has users. The demo wants one of its own.")
        if not users.filter(username="maya").exists():
            users.create_superuser("maya", "maya@example.com", PASSWORD, first_name="Maya")
        if not users.filter(username="sam").exists():
            users.create_user("sam", "sam@example.com", PASSWORD, first_name="Sam")
