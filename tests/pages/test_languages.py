"""German, Spanish and French: every string of the package is translated, and the .mo files match the .po files."""

from __future__ import annotations

import ast
import gettext
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.utils.translation import gettext as gettext_now
from django.utils.translation import override, pgettext
from django.utils.translation.template import templatize

from ontraport_connect.models import Status
from tests.support.servers import PROJECT

PACKAGE = PROJECT / "ontraport_connect"
LANGUAGES = ("de", "es", "fr")
MARKERS = {"_", "gettext", "gettext_lazy", "ngettext", "ngettext_lazy"}
CONTEXT_MARKERS = {"pgettext", "pgettext_lazy"}
WITH_CONTEXT = "{}\x04{}"
"""How a catalogue has a text with a context."""

LINE = re.compile(r"^(msg\w+(?:\[\d\])?) (\".*\")$", re.MULTILINE)
PLACEHOLDER = re.compile(r"%\(\w+\)[sd]|<[^>]+>")
LITERAL = r"(u?(?:'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"))"
IN_TEMPLATES = re.compile(rf"\b(?:(?:_|gettext|ngettext)\(|pgettext\({LITERAL}, ){LITERAL}")


def marked_in_python(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            texts = [str(each.value) for each in node.args if isinstance(each, ast.Constant)]
            if node.func.id in MARKERS:
                yield texts[0]
            elif node.func.id in CONTEXT_MARKERS:
                yield WITH_CONTEXT.format(*texts)


def marked_in_template(source: str) -> Iterator[str]:
    for context, literal in IN_TEMPLATES.findall(templatize(source)):
        text = str(ast.literal_eval(literal))
        yield WITH_CONTEXT.format(ast.literal_eval(context), text) if context else text


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
        key = WITH_CONTEXT.format(texts["msgctxt"], texts["msgid"]) if "msgctxt" in texts else texts["msgid"]
        for name, text in texts.items():
            if name == "msgstr":
                entries[key] = text
            elif name.startswith("msgstr["):
                entries[key, int(name[7])] = text
    return entries


def folder(language: str) -> Path:
    return PACKAGE / "locale" / language / "LC_MESSAGES"


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_text_is_translated_and_no_translation_is_left_over(language: str) -> None:
    translated = {key if isinstance(key, str) else key[0] for key, text in written(language).items() if text} - {""}
    assert translated == marked()
    assert "fuzzy" not in folder(language).joinpath("django.po").read_text()


def test_no_text_claims_that_somebody_was_told() -> None:
    """Whether a line in the log reaches anybody, only the site knows."""
    words = ("notified and", "we're on it", "are fixing", "have been informed", "have been told")
    assert [text for text in marked() if any(each in text.lower() for each in words)] == []


def test_no_line_of_french_begins_with_a_question_mark() -> None:
    """French sets a blank before some marks and inside of its quotation marks: one at which no line is broken."""
    assert [text for text in written("fr").values() if re.search(r" [:?!;»]|« ", text)] == []


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


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_other_app_s_catalogue_speaks_for_this_one(language: str) -> None:
    """The catalogues of apps are merged, and the first app's words win: Django's admin said "Geschichte" and "Sichern" here."""
    texts = {key: text for key, text in written(language).items() if isinstance(key, str) and key}
    with override(language):
        said = {key: pgettext(*key.split("\x04")) if "\x04" in key else gettext_now(key) for key in texts}
    assert said == texts


@pytest.mark.parametrize(
    ("language", "text"),
    [("de", "neu verbinden nötig"), ("es", "hay que volver a conectar"), ("fr", "à reconnecter")],
)
def test_states_are_said_in_the_language_of_the_person(language: str, text: str) -> None:
    with override(language):
        assert str(Status.NEEDS_RECONNECT.label) == text
