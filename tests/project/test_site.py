"""The documentation site, built without a warning: complete, linked, and sufficient to itself."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import zlib
from collections.abc import Iterator
from html import unescape
from html.parser import HTMLParser
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from django.dispatch import Signal

from ontraport_connect import exceptions, signals, urls
from ontraport_connect.conf import OntraportSettings
from ontraport_connect.models import EventKind
from tests.project.test_layout import PUBLIC
from tests.support.doc_pages import DOCS
from tests.support.servers import PROJECT

LOADING = {"link": "href", "script": "src", "img": "src", "iframe": "src", "source": "src", "object": "data"}
OTHER_NAMES = {
    "models.OntraportAccount.objects.for_request": "models.account.OntraportAccountQuerySet.for_request",
    "conf.conf": "",
    "urls.app_name": "",
    "urls.urlpatterns": "",
    "templatetags.ontraport_connect.register": "",
}
"""Public names that have an entry under another name, or only a line of their own (empty)."""


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the site, given by SITE or built here."""
    if "SITE" in os.environ:
        return Path(os.environ["SITE"])
    if find_spec("sphinx") is None:
        pytest.skip("Sphinx is not installed")
    folder = tmp_path_factory.mktemp("site")
    subprocess.run(
        [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-n", "-q", DOCS, folder], check=True, cwd=PROJECT
    )
    return folder


@pytest.fixture(scope="session")
def inventory(site: Path) -> set[str]:
    """Return the names of Python that have an entry in the reference."""
    head, packed = (site / "objects.inv").read_bytes().split(b"zlib.\n", 1)
    assert head.startswith(b"# Sphinx inventory version 2")
    lines = zlib.decompress(packed).decode().splitlines()
    return {line.split()[0] for line in lines if line.split()[1].startswith("py:")}


def words(site: Path, page: str) -> str:
    return " ".join(unescape(re.sub(r"<[^>]+>", "", (site / f"{page}.html").read_text())).split())


class Loaded(HTMLParser):
    """Collects the addresses that a page makes a browser load."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        address = dict(attrs).get(LOADING.get(tag, ""))
        if address:
            self.addresses.append(address)


def pages(site: Path) -> Iterator[Path]:
    return (page for page in site.rglob("*.html") if "_static" not in page.parts)


def test_every_page_is_in_the_site(site: Path) -> None:
    sources = {page.relative_to(DOCS).with_suffix("") for page in DOCS.rglob("*.md")}
    built = {page.relative_to(site).with_suffix("") for page in pages(site)}
    assert sources <= built


def test_nothing_is_loaded_from_elsewhere(site: Path) -> None:
    remote = []
    for page in pages(site):
        loaded = Loaded()
        loaded.feed(page.read_text())
        remote += [f"{page.name}: {address}" for address in loaded.addresses if urlsplit(address).netloc]
    styles = [
        f"{file.name}: {address}"
        for file in site.rglob("*.css")
        for address in re.findall(r"(?:url\(|@import )['\"]?(?:https?:)?(//[^'\")]+)", file.read_text())
    ]
    assert remote + styles == []


def test_every_public_name_has_its_entry(inventory: set[str]) -> None:
    looked_for = {name: OTHER_NAMES.get(name, name) for name in PUBLIC.split()}
    assert [name for name, entry in looked_for.items() if entry and f"ontraport_connect.{entry}" not in inventory] == []


def test_entries_say_something(site: Path) -> None:
    page = (site / "reference" / "python.html").read_text()
    silent = re.findall(r'<dt class="sig[^>]* id="([\w.]+)">(?:(?!</dt>).)*</dt>\s*<dd>\s*</dd>', page, re.DOTALL)
    assert silent == []


def test_reference_has_all_that_the_code_has(site: Path) -> None:
    checked = {
        "settings": [name for name in vars(OntraportSettings) if name.startswith("ONTRAPORT_")],
        "urls": [f"ontraport_connect:{pattern.name}" for pattern in urls.urlpatterns],
        "signals": [name for name, value in vars(signals).items() if isinstance(value, Signal)],
        "events": EventKind.values,
        "errors": [name for name in vars(exceptions) if isinstance(getattr(exceptions, name), type) and name != "UUID"],
    }
    assert [
        f"{page}: {name}" for page, names in checked.items() for name in names if name not in words(site, page_of(page))
    ] == []


def page_of(name: str) -> str:
    return f"reference/{name}"


def test_each_signal_says_when_it_is_sent_and_with_what(site: Path) -> None:
    rows = re.findall(
        r"<tr class=\"row-(?:odd|even)\">(.*?)</tr>", (site / "reference/signals.html").read_text(), re.DOTALL
    )
    cells = [
        [" ".join(re.sub(r"<[^>]+>", "", cell).split()) for cell in re.findall(r"<td>(.*?)</td>", row, re.DOTALL)]
        for row in rows
    ]
    assert [row[0] for row in cells if len(row) == 3 and not (row[1] and row[2])] == []
    assert sum(len(row) == 3 for row in cells) == sum(isinstance(value, Signal) for value in vars(signals).values())
