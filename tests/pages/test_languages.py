"""German, Spanish and French: every string of the package is translated, and the .mo files match the .po files."""

from __future__ import annotations

import ast
import gettext
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.utils.translation import override
from django.utils.translation.template import templatize

from ontraport_connect.models import Status
from tests.support.servers import PROJECT

PACKAGE = PROJECT / "ontraport_connect"
LANGUAGES = ("de", "es", "fr")
MARKERS = {"_", "gettext", "gettext_lazy", "ngettext", "ngettext_lazy"}
LINE = re.compile(r"^(msg\w+(?:\[\d\])?) (\".*\")$", re.MULTILINE)
PLACEHOLDER = re.compile(r"%\(\w+\)[sd]|<[^>]+>")
IN_TEMPLATES = re.compile(r"\b(?:_|gettext|ngettext)\((u?(?:'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"))")


def marked_in_python(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in MARKERS:
            (text,) = (each.value for each in node.args[:1] if isinstance(each, ast.Constant))
            yield str(text)


def marked_in_template(source: str) -> Iterator[str]:
    for literal in IN_TEMPLATES.findall(templatize(source)):
        yield str(ast.literal_eval(literal))


def marked() -> set[str]:
    """Return every translatable text of the package."""
    python = (text for file in PACKAGE.rglob("*.py") for text in marked_in_python(file.read_text()))
    templates = [file for file in (PACKAGE / "templates").rglob("*") if file.suffix in {".html", ".txt"}]
    return {*python, *(text for file in templates for text in marked_in_template(file.read_text()))}


def written(language: str) -> dict[str | tuple[str, int], str]:
    """Return the entries of a .po file (each text on one line) in the form ``gettext`` uses for a .mo file."""
    entries: dict[str | tuple[str, int], str] = {}
    for block in folder(language).joinpath("django.po").read_text().split("\n\n"):
        texts = {name: ast.literal_eval(literal) for name, literal in LINE.findall(block)}
        for name, text in texts.items():
            if name == "msgstr":
                entries[texts["msgid"]] = text
            elif name.startswith("msgstr["):
                entries[texts["msgid"], int(name[7])] = text
    return entries


def folder(language: str) -> Path:
    return PACKAGE / "locale" / language / "LC_MESSAGES"


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_text_is_translated_and_no_translation_is_left_over(language: str) -> None:
    translated = {key if isinstance(key, str) else key[0] for key, text in written(language).items() if text} - {""}
    assert translated == marked()
    assert "fuzzy" not in folder(language).joinpath("django.po").read_text()


@pytest.mark.parametrize("language", LANGUAGES)
def test_translations_keep_the_places_of_names_and_numbers(language: str) -> None:
    wrong = [
        key
        for key, text in written(language).items()
        if isinstance(key, str) and set(PLACEHOLDER.findall(key)) != set(PLACEHOLDER.findall(text))
    ]
    assert wrong == []


@pytest.mark.parametrize("language", LANGUAGES)
def test_compiled_catalogue_is_current(language: str) -> None:
    with folder(language).joinpath("django.mo").open("rb") as file:
        compiled = gettext.GNUTranslations(file)._catalog  # type: ignore[attr-defined]
    compiled.pop("")
    assert compiled == {key: text for key, text in written(language).items() if key}


@pytest.mark.parametrize(
    ("language", "text"),
    [("de", "neu verbinden erforderlich"), ("es", "hay que volver a conectar"), ("fr", "à reconnecter")],
)
def test_states_are_said_in_the_language_of_the_person(language: str, text: str) -> None:
    with override(language):
        assert str(Status.NEEDS_RECONNECT.label) == text
