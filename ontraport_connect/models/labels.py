"""Which labels an account may have: one plain line that can be seen."""

from __future__ import annotations

import unicodedata

from django.core.exceptions import ValidationError
from django.core.validators import RegexValidator
from django.utils.translation import gettext_lazy as _

one_plain_line = RegexValidator(
    # Control characters, those that change the direction of the surrounding text (Unicode TR36, 2.5), and halves of surrogate pairs,
    # which UTF-8 cannot encode.
    r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]",
    _("Use plain characters only, on a single line."),
    code="not_plain",
    inverse_match=True,
)

BLANKS = frozenset("\u115f\u1160\u2065\u2800\u3164\uffa0\U0001d159")
"""Characters that are drawn as nothing although their category is that of letters or symbols, such as HANGUL FILLER."""

TAGS = range(0xE0000, 0xE1000)
"""Default ignorable, assigned or not."""


def validate_label(label: str) -> None:
    """Raise ``ValidationError`` for a label that is not one plain line, or that has characters and none that can be seen."""
    one_plain_line(label)
    if label and not is_visible(label):
        raise ValidationError(_("Use at least one visible character."), code="not_visible")


def is_visible(text: str) -> bool:
    """Tell whether at least one character of the text is drawn by itself."""
    return any(_is_drawn(character) for character in text)


def _is_drawn(character: str) -> bool:
    """Unassigned characters count as drawn: they may be emoji that are newer than this Python."""
    category = unicodedata.category(character)
    is_nothing = category[0] in "ZM" or category in {"Cc", "Cf", "Cs"}
    return not (is_nothing or character in BLANKS or ord(character) in TAGS)
