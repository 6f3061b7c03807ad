"""What ``manage.py ontraport check`` found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum


class Level(StrEnum):
    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One result. ``hint`` says what to do when it is not OK."""

    subject: str
    level: Level
    text: str
    hint: str = ""

    def as_dict(self) -> dict[str, str]:
        return {name: str(value) for name, value in asdict(self).items()}


TITLES: Mapping[str, str] = {
    "configuration": "settings",
    "secrets": "stored secrets",
    "hold": "refreshing",
    "heartbeat": "background jobs",
    "schedule": "beat entry",
    "overdue": "due accounts",
    "reconnect": "ended links",
}


def title_of(subject: str) -> str:
    return TITLES.get(subject, subject)


def finding(subject: str, level: Level, text: str, hint: str = "") -> Finding:
    return Finding(subject=subject, level=level, text=text, hint=hint)
