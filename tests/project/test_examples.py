"""Every Python example in README and docs passes ``mypy --strict``, as it stands there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

from tests.support.servers import PROJECT

BLOCK = re.compile(r"^( *)```python\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)

PRELUDE = """
from datetime import datetime
from typing import Any

import requests
from django.contrib.auth.models import User
from ontraport_connect.models import OntraportAccount

account: OntraportAccount
user: User
access: str
refresh: str
expires_at: datetime
uid: str
Membership: Any
sale: dict[str, Any]
"""
"""What the examples speak of without saying so."""


def examples() -> Iterator[tuple[str, str]]:
    """Yield a module name and the source for each example."""
    for page in [PROJECT / "README.md", *sorted((PROJECT / "docs").glob("*.md"))]:
        for number, (_, block) in enumerate(BLOCK.findall(page.read_text()), start=1):
            yield f"{page.stem.lower()}_{number}", dedent(block)


def test_examples_pass_mypy_strict(tmp_path: Path) -> None:
    modules = dict(examples())
    assert len(modules) > 15
    for name, source in modules.items():
        (tmp_path / f"{name}.py").write_text(f"{PRELUDE}\n{source}")
    # Django REST framework comes without types.
    (tmp_path / "mypy.ini").write_text(
        "[mypy]\nstrict = True\ndisallow_subclassing_any = False\nplugins = mypy_django_plugin.main\n"
        "[mypy-rest_framework.*]\nignore_missing_imports = True\n"
        "[mypy.plugins.django-stubs]\ndjango_settings_module = tests.settings\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--config-file", "mypy.ini", *(f"{name}.py" for name in modules)],
        check=False,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(PROJECT), "MYPYPATH": str(PROJECT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, f"{done.stdout}{done.stderr}"
