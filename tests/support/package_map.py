"""The parts of docs/design.md that are written from the code: the picture of the wings, and where what lives.

    python -m tests.support.package_map

rewrites them. The picture is drawn from the import contract in pyproject.toml, the map from the first sentence of each module's docstring.
"""

import ast
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from textwrap import wrap
from typing import Any

from tests.support.servers import PROJECT

PACKAGE = PROJECT / "ontraport_connect"
PAGE = PROJECT / "docs" / "design.md"
WIDTH = 100
"""Characters between the left and the right edge of the picture."""

NOT_MAPPED = {"migrations"}
TOP_LEVEL = "Django's doors, and what everybody needs"


def contract(name: str) -> Mapping[str, Any]:
    """Return the import contract of this name from pyproject.toml."""
    configuration = tomllib.loads((PROJECT / "pyproject.toml").read_text())["tool"]["importlinter"]
    found: Mapping[str, Any] = {each["name"]: each for each in configuration["contracts"]}[name]
    return found


def layers() -> list[list[str]]:
    """Return the layers of the package, top first: the names of the wings and top-level modules in each."""
    return [re.findall(r"\w+", layer) for layer in contract("Imports point down")["layers"]]


def wings() -> list[str]:
    """Return the names of the wings: the packages whose modules have a contract of their own."""
    return [
        name.removeprefix(f"{PACKAGE.name}.")
        for inside in ("a wing", "the stand-in")
        for name in contract(f"Imports point down inside {inside}, too")["containers"]
    ]


def picture() -> str:
    """Draw the layers on top of each other, and the wings of one layer side by side."""
    edges, lines = [], []
    for names in layers():
        cells = cells_of(names)
        widths = [(WIDTH - len(cells) + 1) // len(cells)] * len(cells)
        widths[-1] += WIDTH - len(cells) + 1 - sum(widths)
        edges.append({sum(widths[: number + 1]) + number for number in range(len(cells) - 1)})
        lines.append(_rule(edges[-2] if edges[:-1] else set(), edges[-1], "├┤" if edges[:-1] else "┌┐"))
        rows = zip_longest(*cells, fillvalue="")
        lines += ["│" + "│".join(map(str.center, row, widths)) + "│" for row in rows]
    lines.append(_rule(edges[-1], set(), "└┘"))
    return "\n".join(["```text", *lines, "```"])


def cells_of(names: Sequence[str]) -> list[list[str]]:
    """Return the cells of one layer, each a list of lines: one cell for each wing, and one for all modules that are in no wing."""
    if all((PACKAGE / name).is_dir() for name in names):
        return [[f"{name}/"] for name in names]
    return [wrap("   ".join(names), WIDTH - 10)]


def _rule(above: set[int], below: set[int], ends: str) -> str:
    """Return the line between two layers, joined to the edges of the cells above and below it."""
    marks = {(True, True): "┼", (True, False): "┴", (False, True): "┬", (False, False): "─"}
    return ends[0] + "".join(marks[at in above, at in below] for at in range(WIDTH)) + ends[1]


def folders() -> list[Path]:
    """Return the folders of the package that hold modules, the package itself first, in the order of the import contract."""
    order = [name for names in layers() for name in names]
    found = [
        folder for folder in PACKAGE.iterdir() if (folder / "__init__.py").exists() and folder.name not in NOT_MAPPED
    ]
    wings = sorted(found, key=lambda folder: order.index(folder.name))
    return [PACKAGE, *wings]


def modules(folder: Path) -> list[Path]:
    """Return the modules of a wing; those of the package itself are the ones that are in no wing."""
    found = folder.glob("*.py") if folder == PACKAGE else folder.rglob("*.py")
    return sorted(file for file in found if file.name != "__init__.py")


def job(file: Path) -> str:
    """Return the first sentence of a module's docstring in one line, in Markdown; empty without a docstring."""
    paragraph = (ast.get_docstring(ast.parse(file.read_text())) or "").split("\n\n")[0]
    sentence = re.split(r"(?<=\.)\s+(?=[A-Z])", " ".join(paragraph.split()))[0]
    return sentence.replace("``", "`").replace("|", "\\|").rstrip(".:")


def the_map() -> str:
    """Write one table a wing: its modules and the job of each."""
    lines: list[str] = []
    for folder in folders():
        about = TOP_LEVEL if folder == PACKAGE else job(folder / "__init__.py")
        lines += [f"**`{folder.relative_to(PROJECT)}/`**: {about}", "", "| module | job |", "|---|---|"]
        lines += [f"| `{file.relative_to(PACKAGE)}` | {job(file)} |" for file in modules(folder)]
        lines.append("")
    return "\n".join(lines).rstrip()


SECTIONS = {"picture of the wings": picture, "where what lives": the_map}


def rewritten(text: str) -> str:
    """Return the text of the page with each written section as it has to be. Raises ``ValueError`` where a section's marks are missing."""
    for name, write in SECTIONS.items():
        begin, end = f"<!-- begin: {name} -->\n", f"\n<!-- end: {name} -->"
        if text.count(begin) != 1 or text.count(end) != 1:
            raise ValueError(f"The page has no place for: {name}")
        before, rest = text.split(begin)
        text = before + begin + "\n" + write() + "\n" + end + rest.split(end)[1]
    return text


def named_paths(text: str) -> Iterator[Path]:
    """Return each path that the page's map names."""
    return (PACKAGE / path for path in re.findall(r"^\| `([\w/]+\.py)` \|", text, re.MULTILINE))


if __name__ == "__main__":
    PAGE.write_text(rewritten(PAGE.read_text()))
