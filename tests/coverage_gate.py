"""Adds up what the test environments measured, and fails under 100 % of the package's branches.

    python -m tests.coverage_gate FOLDER ENVIRONMENT...

What they measure is chosen in ``tests/measured.py``. Some branches belong to one database or one version of Python, so where an
environment could not run (its Python is missing, or the server that it needs) the sum is shown and not judged. In CI all of them have run.
"""

import os
import shutil
import sys
from pathlib import Path

from coverage import Coverage

REQUIRED = 100


def main(folder: Path, environments: list[str]) -> int:
    absent = [name for name in environments if not any(folder.glob(f"{name}*")) or lacks_its_server(name)]
    if len(absent) == len(environments):
        print(f"No test has run: none of {', '.join(environments)} found its Python.", file=sys.stderr)
        return 1
    coverage = Coverage(data_file=str(folder / "total"))
    coverage.combine([str(file) for name in environments for file in folder.glob(f"{name}*")], keep=True)
    covered = coverage.report(include=["ontraport_connect/*"])
    if absent:
        print(f"Not judged: {', '.join(absent)} did not run here.")
        return 0
    if covered < REQUIRED:
        print(f"{covered:.2f} % of ontraport_connect is covered, {REQUIRED} % is required.", file=sys.stderr)
        return 1
    return 0


def lacks_its_server(environment: str) -> bool:
    """Tell whether an environment has skipped its tests."""
    folders = f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin"
    return environment.endswith("mariadb") and shutil.which("mariadbd", path=folders) is None


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
