"""The documentation as text: its pages, and the blocks of code in them."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

from tests.support.servers import PROJECT

DOCS = PROJECT / "docs"
PAGES = [
    *(PROJECT / f"{name}.md" for name in ("README", "CONTRIBUTING", "SECURITY")),
    *sorted(DOCS.rglob("*.md")),
]
FENCE = re.compile(r"^( *)```([\w-]*)[^\n]*\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")


def code_blocks(page: Path, language: str) -> Iterable[str]:
    """Return the blocks of one language, without the indentation of the list that they may stand in."""
    return (textwrap.dedent(block[3]) for block in FENCE.finditer(page.read_text()) if block[2] == language)


def prose(page: Path) -> str:
    return FENCE.sub("", page.read_text())


def commands(page: Path) -> Iterator[str]:
    """Yield the commands of a page's console blocks, without the prompt and what is set in the environment."""
    for block in code_blocks(page, "console"):
        for line in block.splitlines():
            if line.startswith("$ "):
                yield re.sub(r"^(?:[A-Z_]+=\S+ )+", "", line.removeprefix("$ "))


@cache
def run_blocks(page: str) -> dict[str, Any]:
    """Run the Python blocks of a page of the documentation one after the other, and return the names that they define.

    A page runs once in a process: Celery refuses to register its task again.
    """
    names: dict[str, Any] = {"__name__": page}
    for block in code_blocks(DOCS / page, "python"):
        exec(compile(block, page, "exec"), names)  # noqa: S102  # that is what a reader does
    return names
