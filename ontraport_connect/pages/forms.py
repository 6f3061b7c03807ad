"""The forms on the pages."""

from __future__ import annotations

from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from ontraport_connect.encryption import Secret
from ontraport_connect.models import validate_label


def _header(value: str, complaint: str) -> str:
    """Return ``value`` if it can be sent as a header. Raises ``ValidationError`` with ``complaint``."""
    if not value.isascii() or not value.isprintable() or " " in value:
        raise forms.ValidationError(complaint, code="header")
    return value


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

    def clean_app_id(self) -> str:
        return _header(
            self.cleaned_data["app_id"],
            str(_("That App ID isn't valid. Copy it again from Ontraport and paste it here.")),
        )

    def clean_api_key(self) -> str:
        return _header(
            self.cleaned_data["api_key"],
            str(_("That key isn't valid. Copy it again from Ontraport and paste it here.")),
        )

    def explain_empty_key(self) -> None:
        """Say below the field, where a key was sent, why it is not there any more."""
        if self.data.get("api_key"):
            self["api_key"].help_text = _("We cleared this field, because we never show a key again.")

    def secrets(self) -> dict[str, Any]:
        """Return the cleaned values, with the credentials as ``Secret``."""
        values = self.cleaned_data
        return {"app_id": Secret(values["app_id"]), "api_key": Secret(values["api_key"]), "label": values["label"]}
