"""The site's own pages, as the address of its callback tells where they are: to workers, e-mails and other hosts, too."""

from __future__ import annotations

from urllib.parse import urljoin, urlsplit

from django.conf import settings
from django.urls import reverse
from django.utils import translation

PATHS = {"accounts": "", "client_metadata": "client.json", "connect": "connect/"}
"""Where these are, beside ``callback/``; see ``urls``."""


def beside(callback: str, name: str) -> str:
    """Return the absolute URL of our page ``name`` on the site whose callback has the absolute URL ``callback``.

    Their paths differ in the end only, whatever the mount point, the language prefix, or the URLconf of the host.
    """
    return urljoin(callback, f"../{PATHS[name]}" if urlsplit(callback).path.endswith("/callback/") else _reversed(name))


def _reversed(name: str) -> str:
    with translation.override(settings.LANGUAGE_CODE):
        return reverse(f"ontraport_connect:{name}")
