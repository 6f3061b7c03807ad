"""The forms of the pages."""

from __future__ import annotations

from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from .secret import Secret


class KeyForm(forms.Form):
    """An App ID and API key, as they are copied from Ontraport. The key is never rendered back."""

    app_id = forms.CharField(
        label=_("App ID"), max_length=200, widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false"})
    )
    api_key = forms.CharField(
        label=_("API key"),
        max_length=200,
        widget=forms.PasswordInput(render_value=False, attrs={"autocomplete": "off"}),
    )
    label = forms.CharField(
        label=_("Label"), max_length=100, required=False, help_text=_("How you want to tell it from others.")
    )

    def _clean_header(self, name: str) -> str:
        value: str = self.cleaned_data[name]
        if not value.isascii() or not value.isprintable() or " " in value:
            raise forms.ValidationError(_("This holds characters that no key has; please copy it again."))
        return value

    def clean_app_id(self) -> str:
        return self._clean_header("app_id")

    def clean_api_key(self) -> str:
        return self._clean_header("api_key")

    def secrets(self) -> dict[str, Any]:
        """Return the cleaned values, the credentials hidden."""
        values = self.cleaned_data
        return {"app_id": Secret(values["app_id"]), "api_key": Secret(values["api_key"]), "label": values["label"]}
