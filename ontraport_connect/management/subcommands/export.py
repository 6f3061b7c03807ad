"""``export``: what is stored about one person, as JSON"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from django.contrib.auth import get_user_model
from django.core.management.base import CommandError, CommandParser

from ontraport_connect import staff
from ontraport_connect.management.reports import USAGE, Progress, Report

HELP = "Print what is stored about one person as JSON: links and history, no credentials."


def add_arguments(parser: CommandParser) -> None:
    parser.add_argument("user", metavar="USERNAME", help="the person, by what they sign in with")


def run(options: Mapping[str, Any], progress: Progress) -> Report:
    model: Any = get_user_model()
    user = model._default_manager.filter(**{model.USERNAME_FIELD: options["user"]}).first()
    if user is None:
        raise CommandError(f"There is no user {options['user']}.", returncode=USAGE)
    data = staff.export_person(user)
    return Report(lines=json.dumps(data, indent=2, ensure_ascii=False).splitlines(), data=data)
