"""The lowest versions that pyproject.toml allows, as pip's constraints: ``python -m tests.lowest`` writes ``tests/lowest.txt`` anew."""

import re
import tomllib
from pathlib import Path

PROJECT = Path(__file__).parent.parent
CONSTRAINTS = PROJECT / "tests" / "lowest.txt"


def constraints() -> str:
    """Return a line for each package that the app and its tests need."""
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    needed = [*project["dependencies"]]
    for extra in ("redis", "prometheus", "mcp", "sandbox", "demo", "test"):
        needed += extras[extra]
    found = [re.match(r"([\w.-]+)(?:\[[^]]*\])?>=([\d.]+)", each) for each in needed]
    return "".join(sorted({f"{each[1]}=={each[2]}\n" for each in found if each is not None}))


if __name__ == "__main__":
    CONSTRAINTS.write_text(constraints())
