"""The example site's own tests, run as its developer runs them: with Django's runner and the test kit, without any server."""

import os
import subprocess
import sys
from pathlib import Path

from tests.support.servers import PROJECT


def test_the_example_site_passes_its_tests(tmp_path: Path) -> None:
    environ = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("ONTRAPORT_", "TEST_"))},
        "DJANGO_SETTINGS_MODULE": "example_project.settings",
        "DATABASE_URL": f"sqlite:///{tmp_path / 'site.sqlite3'}",
        "DEBUG": "True",
        "ENV_FILE": "",
    }
    done = subprocess.run(
        [sys.executable, "manage.py", "test", "example_project", "--timing"],
        cwd=PROJECT,
        env=environ,
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "Ran 6 tests" in done.stderr
