"""The forms on the pages."""

from __future__ import annotations

from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from ontraport_connect.encryption import Secret
from ontraport_connect.models import validate_label


class LabelField(forms.CharField):
    """The label of a link: one plain line that can be seen, or nothing."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(label=_("Name"), max_length=100, required=False, validators=[validate_label], **kwargs)


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
    label = LabelField(help_text=_("Optional. A name to help you recognize this account."))

    def _clean_header(self, name: str) -> str:
        value: str = self.cleaned_data[name]
        if not value.isascii() or not value.isprintable() or " " in value:
            raise forms.ValidationError(_("That doesn't look like a valid key. Please copy it again."), code="header")
        return value

    def clean_app_id(self) -> str:
        return self._clean_header("app_id")

    def clean_api_key(self) -> str:
        return self._clean_header("api_key")

    def secrets(self) -> dict[str, Any]:
        """Return the cleaned values, with the credentials as ``Secret``."""
        values = self.cleaned_data
        return {"app_id": Secret(values["app_id"]), "api_key": Secret(values["api_key"]), "label": values["label"]}
