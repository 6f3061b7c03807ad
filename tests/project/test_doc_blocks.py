"""The code in the documentation: what it imports is there, and so is every command with its options."""

from __future__ import annotations

import argparse
import ast
import importlib
import re
import shlex
from collections.abc import Iterator, Mapping
from configparser import ConfigParser
from pathlib import Path
from typing import NoReturn
from uuid import uuid4

import pytest
from django.core.management import get_commands, load_command_class

from ontraport_connect.conf import OntraportSettings, conf
from tests.support.doc_pages import CODE, DOCS, PAGES, code_blocks, commands, prose
from tests.support.servers import PROJECT

READERS_OWN = {"shop", "mysite", "celery"}
"""Modules of the reader's site (``celery`` where it is ``.celery``)."""

NOT_HERE = {"allauth"}
"""Packages that a reader moves away from."""

PLACEHOLDERS = {"UID": str(uuid4()), "TENANT": "workspace:7", "USERNAME": "zoe", "customers": "default"}
IDS = [str(page.relative_to(PROJECT)) for page in PAGES]


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_what_a_block_imports_can_be_imported(page: Path) -> None:
    for block in code_blocks(page, "python"):
        for node in ast.walk(ast.parse(block)):
            for module, name in imported(node):
                if module.partition(".")[0] not in READERS_OWN | NOT_HERE:
                    found = importlib.import_module(module)
                    if name and not hasattr(found, name):
                        importlib.import_module(f"{module}.{name}")


def imported(node: ast.AST) -> Iterator[tuple[str, str]]:
    if isinstance(node, ast.Import):
        yield from ((alias.name, "") for alias in node.names)
    elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
        yield from ((node.module, alias.name) for alias in node.names)


def parser_of(command: str) -> argparse.ArgumentParser:
    """Return the parser of a command of this Django, which raises ``ValueError`` where it would end the process."""
    parser = load_command_class(get_commands()[command], command).create_parser("manage.py", command)

    def fail(message: str) -> NoReturn:
        raise ValueError(f"{command}: {message}")

    for each in [parser, *subparsers(parser).values()]:
        setattr(each, "error", fail)  # noqa: B010  # mypy knows a method here
    return parser


def subparsers(parser: argparse.ArgumentParser) -> Mapping[str, argparse.ArgumentParser]:
    found = [action.choices for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    return found[0] if found else {}


def arguments_of(command: str) -> list[str]:
    words = shlex.split(command, comments=True)
    return [PLACEHOLDERS.get(word, word) for word in words[words.index("manage.py") + 1 :]]


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_commands_in_blocks_are_accepted_by_their_parsers(page: Path) -> None:
    for command in commands(page):
        if "manage.py " in command:
            name, *arguments = arguments_of(command)
            parser_of(name).parse_args(arguments)


@pytest.mark.parametrize(
    "wrong", ["ontraport refresh", "ontraport refresh --al", "ontraport mend --all", "migrate --backwards", "ontraport"]
)
def test_a_command_that_does_not_exist_is_noticed(wrong: str) -> None:
    name, *arguments = arguments_of(f"python manage.py {wrong}")
    with pytest.raises(ValueError, match=r".+: .+"):
        parser_of(name).parse_args([argument for argument in arguments if argument != "--al"])


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_commands_in_the_text_have_the_options_that_it_names(page: Path) -> None:
    known = {name: parser._option_string_actions for name, parser in subparsers(parser_of("ontraport")).items()}
    for code in CODE.findall(prose(page)):
        found = re.search(r"manage\.py ontraport ([a-z-]+)(.*)", code)
        if found:
            assert {*re.findall(r"--[a-z-]+", found[2])} <= {*known[found[1]]}, code


def test_environments_of_tox_exist() -> None:
    configuration = ConfigParser(interpolation=None)
    configuration.read(PROJECT / "tox.ini")
    existing = {name.removeprefix("testenv:") for name in configuration} | {*configuration["tox"]["env_list"].split()}
    named = {
        name
        for page in PAGES
        for group in re.findall(r"tox run -e ([\w,-]+)", page.read_text())
        for name in group.split(",")
    }
    assert named - existing == set()


def test_readme_is_short() -> None:
    assert len((PROJECT / "README.md").read_text().splitlines()) < 150


def test_settings_page_gives_the_defaults_of_the_code() -> None:
    """Those that it describes in words are not compared."""
    rows = dict(re.findall(r"^\| `(ONTRAPORT_\w+)` \| (.+?) \|", (DOCS / "settings.md").read_text(), re.MULTILINE))
    assert rows.keys() == {name for name in vars(OntraportSettings) if name.startswith("ONTRAPORT_")}
    written = {name: ast.literal_eval(default.strip("`")) for name, default in rows.items() if default.startswith("`")}
    assert written == {name: getattr(conf, name) for name in written}
    assert len(written) > len(rows) / 2
