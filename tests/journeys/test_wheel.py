"""What the distributions contain, and what a newcomer gets who adds four lines to a fresh project."""

import subprocess
import sys
import zipfile
from collections.abc import Iterator
from email.parser import HeaderParser
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests

from example_project.demo.browser import Browser
from ontraport_connect import __version__
from tests.support.servers import HOST, PROJECT, Process, foreign_environ, free_port, wait_until
from tests.support.servers import accepts_connections as listens

PASSWORD = "correct horse battery staple"

APP_LINE = '"ontraport_connect",'
MIDDLEWARE_LINE = '"ontraport_connect.middleware.OntraportMiddleware",'
URL_LINE = 'path("ontraport/", include("ontraport_connect.urls")),'
BEAT_LINE = "from ontraport_connect.schedule import BEAT_SCHEDULE"


class NewProject:
    """A new project of `django-admin startproject`, in a virtual environment with the wheel and its requirements."""

    def __init__(self, folder: Path, wheel: Path) -> None:
        self.folder = folder
        self.python = folder / "venv" / "bin" / "python"
        self.environ = {name: value for name, value in foreign_environ().items() if not name.startswith("PYTHON")}
        self.run(sys.executable, "-m", "venv", folder / "venv")
        self.run(self.python, "-m", "pip", "install", "--quiet", f"{wheel}[mcp,sandbox]")
        self.run(folder / "venv" / "bin" / "django-admin", "startproject", "shop", folder)

    def run(self, *command: str | Path, **environ: str) -> str:
        done = subprocess.run(
            command, check=False, cwd=self.folder, env=self.environ | environ, capture_output=True, text=True
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        return done.stdout

    def manage(self, *arguments: str, **environ: str) -> str:
        return self.run(self.python, "manage.py", *arguments, **environ)

    def insert(self, file: str, before: str, line: str) -> None:
        path = self.folder / "shop" / file
        content = path.read_text()
        assert content.count(before) == 1, f"{before!r} in {file}"
        path.write_text(content.replace(before, f"{line}{before}"))

    def add_the_four_lines(self) -> None:
        self.insert("settings.py", "]\n\nMIDDLEWARE = [", f"    {APP_LINE}\n")
        self.insert("settings.py", "]\n\nROOT_URLCONF", f"    {MIDDLEWARE_LINE}\n")
        self.insert("settings.py", "from pathlib import Path", f"{BEAT_LINE}\n")
        self.add_settings(CELERY_BEAT_SCHEDULE="BEAT_SCHEDULE")
        self.insert("urls.py", "from django.urls import path", "from django.urls import include\n")
        self.insert("urls.py", "    path('admin/'", f"    {URL_LINE}\n")

    def add_settings(self, **settings: str) -> None:
        with (self.folder / "shop" / "settings.py").open("a") as file:
            file.writelines(f"{name} = {expression}\n" for name, expression in settings.items())


@pytest.fixture(scope="session")
def project(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> NewProject:
    project = NewProject(tmp_path_factory.mktemp("newcomer"), wheel)
    project.add_the_four_lines()
    return project


@pytest.fixture
def stand_in(project: NewProject) -> Iterator[str]:
    """The stand-in for Ontraport, started with the site's own command and its fifth line."""
    url = f"http://{HOST}:{free_port()}"
    project.add_settings(ONTRAPORT_ENDPOINTS=repr("sandbox"), ONTRAPORT_SANDBOX_URL=repr(url))
    process = Process(
        *(project.python, "manage.py", "ontraport", "sandbox"),
        log=project.folder / "sandbox.log",
        cwd=project.folder,
        environ=project.environ,
    )
    try:
        process.wait_for_line(r"^Sandbox ready at ", timeout=120)
        yield url
    finally:
        process.stop()


@pytest.fixture
def site(project: NewProject, stand_in: str) -> Iterator[str]:
    project.manage("migrate", "--verbosity", "0")
    project.manage(
        "createsuperuser", "--noinput", "--username=newcomer", "--email=", DJANGO_SUPERUSER_PASSWORD=PASSWORD
    )
    port = free_port()
    server = Process(
        *(project.python, "manage.py", "runserver", "--noreload", f"{HOST}:{port}"),
        log=project.folder / "runserver.log",
        cwd=project.folder,
        environ=project.environ,
    )
    wait_until(lambda: listens(port) or server.child.poll() is not None, "the site to listen")
    assert server.child.poll() is None, server.output
    yield f"http://{HOST}:{port}"
    server.stop()


def test_wheel_holds_every_file_of_the_package_and_nothing_else(wheel: Path) -> None:
    package = PROJECT / "ontraport_connect"
    source = {
        str(file.relative_to(PROJECT))
        for file in package.rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert names == source


def test_wheel_holds_a_compiled_catalogue_beside_each_source(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    assert {f"{name.removesuffix('.po')}.mo" for name in names if name.endswith(".po")} <= names


def test_wheel_says_its_version_licence_and_requirements(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = HeaderParser().parsestr(archive.read(name).decode())
        assert "ontraport_connect/py.typed" in archive.namelist()
        assert any(name.endswith("/licenses/LICENSE") for name in archive.namelist())
    assert metadata["Name"] == "django-ontraport-connect"
    assert metadata["Version"] == __version__
    assert metadata["License-Expression"] == "MIT"
    assert metadata["Requires-Python"] == ">=3.11"


def test_readme_names_the_four_lines() -> None:
    readme = (PROJECT / "README.md").read_text()
    assert [line for line in (APP_LINE, MIDDLEWARE_LINE, URL_LINE, BEAT_LINE) if line not in readme] == []


def test_fresh_project_with_the_four_lines_passes_its_checks_without_credentials(project: NewProject) -> None:
    assert "System check identified no issues (0 silenced)." in project.manage("check")


def test_fresh_project_links_an_account_and_uses_it(project: NewProject, site: str, stand_in: str) -> None:
    assert "System check identified no issues (0 silenced)." in project.manage("check")
    browser = Browser()

    page = browser.open(f"{site}/admin/login/?next=/ontraport/connect/")
    page = browser.send(page, page.form(names="password"), username="newcomer", password=PASSWORD)
    assert urlsplit(page.url).path == "/ontraport/connect/"

    page = browser.send(page, page.form(action="/ontraport/connect/"))
    assert page.url.startswith(stand_in)
    page = browser.send(page, page.form(names="password"), username="owner", password="sandbox")
    page = browser.send(page, page.form(names="client_id"), button="allow")

    assert page.url == f"{site}/ontraport/"
    assert page.status == 200
    assert "187157" in page.text
    assert [
        grant["username"]
        for grant in requests.get(f"{stand_in}/control/state", timeout=10).json()["grants"]
        if grant["alive"]
    ] == ["owner"]
    assert "187157" in project.manage(
        "shell",
        "--command",
        "from ontraport_connect.models import OntraportAccount\n"
        "account = OntraportAccount.objects.get()\n"
        "print(account.status, account.mcp('get_account_info'))",
    )
