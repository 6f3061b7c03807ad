"""The language of these pages: the person's, or English where it has no translations of them."""

from __future__ import annotations

from dataclasses import dataclass

from django.utils import translation
from django.utils.translation import gettext as _


@dataclass(frozen=True, kw_only=True, slots=True)
class Language:
    """A language tag and its direction, as the attributes ``lang`` and ``dir`` have them. ``is_other``: the page around is in another."""

    code: str
    direction: str
    is_other: bool


def spoken() -> Language:
    """Return the language in which all texts of a page can be said.

    Words that Django's own catalogues happen to have would otherwise stand between English ones, perhaps in another direction. A site
    that brings translations of its own for this app is heard.
    """
    active = translation.get_language() or "en"
    is_translated = _("Connect your Ontraport account") != "Connect your Ontraport account"
    code = active if is_translated or active.split("-")[0] == "en" else "en"
    return Language(code=code, direction=_direction(code), is_other=code != active)


def _direction(code: str) -> str:
    with translation.override(code):
        return "rtl" if translation.get_language_bidi() else "ltr"
