"""Two packages install ``django_cryptography``, and the one that was installed last counts."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.support.servers import PROJECT


def test_the_package_that_works_on_no_django_of_today_is_told_apart(tmp_path: Path) -> None:
    """https://github.com/django-recaptcha/django-recaptcha/issues/291: no process started, and nothing said why."""
    package = tmp_path / "django_cryptography"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "fields.py").write_text("from django.utils import baseconv\n")  # as django-cryptography 1.1 does
    done = subprocess.run(
        [sys.executable, "-c", "import django; django.setup()"],
        env={
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "tests.settings",
            "TEST_DATABASE": "sqlite",
            "PYTHONPATH": os.pathsep.join([str(tmp_path), str(PROJECT)]),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    said = done.stderr.splitlines()[-1]
    assert said.startswith("django.core.exceptions.ImproperlyConfigured: django_cryptography cannot be imported here.")
    assert said.endswith(
        "pip uninstall --yes django-cryptography django-cryptography-5 && pip install django-cryptography-5"
    )
