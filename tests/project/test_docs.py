"""The documentation names everything that is public, and nothing that does not exist."""

import re
from argparse import _SubParsersAction
from pathlib import Path
from pkgutil import resolve_name
from urllib.parse import unquote, urlsplit

import pytest
from django.apps import apps
from django.dispatch import Signal
from django.template import Engine

from ontraport_connect import exceptions, signals, urls
from ontraport_connect.conf import OntraportSettings
from ontraport_connect.management.commands import ontraport
from ontraport_connect.templatetags import ontraport_connect as tags
from tests.support.doc_pages import PAGES, code_blocks, prose
from tests.support.servers import PROJECT

LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)[^)]*\)")
HEADING = re.compile(r"^#+ +(.+?) *#*$", re.MULTILINE)


@pytest.fixture(scope="module")
def documentation() -> str:
    return "\n".join(page.read_text() for page in PAGES)


def public_settings() -> set[str]:
    return {name for name in vars(OntraportSettings) if name.startswith("ONTRAPORT_")}


def anchors(page: Path) -> set[str]:
    """Return the fragments of a page's headings, as GitHub makes them."""
    headings = HEADING.findall(prose(page))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_settings(documentation: str) -> None:
    assert set(re.findall(r"\bONTRAPORT_[A-Z_]*[A-Z]\b", documentation)) == public_settings()


def test_example_reads_every_setting_from_the_environment_and_explains_it() -> None:
    settings = (PROJECT / "example_project" / "settings.py").read_text()
    explained = (PROJECT / ".env.example").read_text()
    assert [name for name in sorted(public_settings()) if f'"{name}"' not in settings or name not in explained] == []


def test_url_names(documentation: str) -> None:
    existing = {pattern.name for pattern in urls.urlpatterns}
    assert set(re.findall(r"\bontraport_connect:(\w+)", documentation)) <= existing
    assert [name for name in sorted(map(str, existing)) if not re.search(rf"[`:]{name}\b", documentation)] == []


def test_template_tags(documentation: str) -> None:
    ours = {*tags.register.tags}
    builtin = {name for library in Engine().template_builtins for name in library.tags}
    used = {name for name in re.findall(r"{%-? *(\w+)", documentation) if not name.startswith("end")}
    assert used - builtin - {"static", "translate", "blocktranslate"} == ours
    assert [name for name in sorted(tags.register.filters) if f"|{name} }}}}" not in documentation] == []


def test_management_commands(documentation: str) -> None:
    parser = ontraport.Command().create_parser("manage.py", "ontraport")
    (subcommands,) = (action.choices for action in parser._actions if isinstance(action, _SubParsersAction))
    assert set(re.findall(r"manage\.py ontraport ([a-z-]+)", documentation)) == set(subcommands)


def test_system_checks(documentation: str) -> None:
    sources = (file.read_text() for file in (PROJECT / "ontraport_connect").rglob("*.py"))
    check_id = re.compile(r"\bontraport_connect\.[EWIC]\d{3}\b")
    assert set(check_id.findall(documentation)) == set(check_id.findall("\n".join(sources)))


def test_signals(documentation: str) -> None:
    existing = {name for name, value in vars(signals).items() if isinstance(value, Signal)}
    assert [name for name in sorted(existing) if f"`{name}`" not in documentation] == []


def test_exceptions(documentation: str) -> None:
    existing = {
        name
        for name, value in vars(exceptions).items()
        if isinstance(value, type) and issubclass(value, exceptions.OntraportError)
    }
    assert [name for name in sorted(existing) if f"`{name}`" not in documentation] == []


def test_dotted_paths(documentation: str) -> None:
    """Every `ontraport_connect.something` in the text, and every import in a code block, can be imported."""
    paths = set(re.findall(r"(?<![\w./-])ontraport_connect(?:\.[a-zA-Z_]\w*)+\b(?![/*])", documentation))
    for module, names in re.findall(r"^ *from (ontraport_connect[\w.]*) import ([\w, ]+)", documentation, re.MULTILINE):
        paths |= {f"{module}.{name.split(' as ')[0].strip()}" for name in names.split(",")}
    missing = {
        path for path in paths if not re.search(r"\.(?:[EWIC]\d{3}|css|html|txt|mo|po)$", path) and not found(path)
    }
    assert missing == set()


def found(path: str) -> bool:
    """Tell whether this is the path of something in Python, or the name of a model."""
    try:
        resolve_name(path)
    except (ImportError, AttributeError):
        label, _, model = path.partition(".")
        return model in apps.all_models[label]
    return True


def test_python_blocks_compile() -> None:
    for page in PAGES:
        for block in code_blocks(page, "python"):
            compile(block, str(page), "exec")


def test_internal_links_resolve() -> None:
    broken = []
    for page in PAGES:
        for target in LINK.findall(prose(page)):
            link = urlsplit(target)
            if link.scheme:
                continue
            file = (page.parent / unquote(link.path)).resolve() if link.path else page
            if not file.exists() or (link.fragment and link.fragment not in anchors(file)):
                broken.append(f"{page.name}: {target}")
    assert broken == []
