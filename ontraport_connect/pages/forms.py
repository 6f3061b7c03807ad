"""The forms on the pages."""

from __future__ import annotations

from typing import Any

from django import forms
from django.core.validators import RegexValidator
from django.utils.translation import gettext_lazy as _

from ontraport_connect.encryption import Secret

one_plain_line = RegexValidator(
    # Control characters, and those that change the direction of the surrounding text (Unicode TR36, 2.5).
    r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]",
    _("Please use plain characters only, on one line."),
    code="not_plain",
    inverse_match=True,
)


class LabelField(forms.CharField):
    """The label of a link: one line of printable characters."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(label=_("Name"), max_length=100, required=False, validators=[one_plain_line], **kwargs)


class RenameForm(forms.Form):
    """Rename a link."""

    label = LabelField()


class KeyForm(forms.Form):
    """An App ID and API key, copied from Ontraport. The key is never rendered back into the page."""

    app_id = forms.CharField(
        label=_("App ID"),
        max_length=200,
        widget=forms.TextInput(attrs={"autocomplete": "off", "autocapitalize": "none", "spellcheck": "false"}),
    )
    api_key = forms.CharField(
        label=_("API key"),
        max_length=200,
        widget=forms.PasswordInput(render_value=False, attrs={"autocomplete": "off"}),
    )
    label = LabelField(help_text=_("Optional: what you want to call this connection, to tell it from others."))

    def _clean_header(self, name: str) -> str:
        value: str = self.cleaned_data[name]
        if not value.isascii() or not value.isprintable() or " " in value:
            raise forms.ValidationError(
                _("This holds characters that no key has; please copy it again."), code="header"
            )
        return value

    def clean_app_id(self) -> str:
        return self._clean_header("app_id")

    def clean_api_key(self) -> str:
        return self._clean_header("api_key")

    def secrets(self) -> dict[str, Any]:
        """Return the cleaned values, with the credentials as ``Secret``."""
        values = self.cleaned_data
        return {"app_id": Secret(values["app_id"]), "api_key": Secret(values["api_key"]), "label": values["label"]}
