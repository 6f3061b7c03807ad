"""Validation of what people type."""

from __future__ import annotations

import pytest

from ontraport_connect.pages.forms import KeyForm, RenameForm


def test_credentials_leave_the_form_hidden() -> None:
    form = KeyForm({"app_id": " 2_1_x ", "api_key": "the-key", "label": " Shop "})
    assert form.is_valid()
    values = form.secrets()
    assert "the-key" not in repr(values)
    assert (values["app_id"].reveal(), values["api_key"].reveal(), values["label"]) == ("2_1_x", "the-key", "Shop")


@pytest.mark.parametrize("bad", ["two words", "ümlaut", "line\nbreak", "tab\there", "x" * 201])
@pytest.mark.parametrize("name", ["app_id", "api_key"])
def test_what_cannot_be_a_header_is_refused_at_its_field(name: str, bad: str) -> None:
    form = KeyForm({"app_id": "2_1_x", "api_key": "the-key", name: bad})
    assert list(form.errors) == [name]


def test_the_key_is_never_rendered_back() -> None:
    form = KeyForm({"app_id": "2_1_x", "api_key": "the-key"})
    assert "the-key" not in str(form)
    assert "2_1_x" in str(form)


@pytest.mark.parametrize("label", ["Café №1", "قهوة شارع الميناء", "👩‍👩‍👧 & co", ""])
def test_names_of_every_script_are_taken(label: str) -> None:
    assert RenameForm({"label": label}).is_valid()


@pytest.mark.parametrize(
    "character", ["\x00", "\n", "\x7f", "\x9b", "\u200f", "\u202e", "\u2028", "\u2066", "\ud800", "a\udfff"]
)
def test_characters_that_deceive_the_eye_are_not(character: str) -> None:
    assert not RenameForm({"label": f"a{character}b"}).is_valid()
