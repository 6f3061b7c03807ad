"""The package's layout: wings that nothing reaches into, few modules at the top, public names, and a page that says where what lives."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from pkgutil import resolve_name

import pytest

from tests.support.package_map import PACKAGE, PAGE, modules, named_paths, rewritten, wings
from tests.support.servers import PROJECT

NAME = PACKAGE.name
WINGS = wings()
LOOKED_UP = {
    Path("models/calls.py"): f"import_module('{NAME}.using')",
    Path("protocol/__init__.py"): "import_module(f'{__name__}.httpx_base')",
    Path("using/__init__.py"): "import_module(f'{__name__}.httpx_auth')",
}
"""Where a module of ours is looked up by its name: models offer calls, and what imports an HTTP client waits until it is first used."""

OF_OTHERS = {Path("protocol/httpx_base.py"), Path("protocol/mcp_sdk.py"), Path("using/rate_store.py")}
"""Modules that look up packages of others, which need not be installed or take long to import."""

AT_START = (Path("apps.py"), "ready")
"""The function that imports: Django's models do not exist before it is called."""

MODULES = sorted(file.relative_to(PACKAGE) for file in PACKAGE.rglob("*.py"))

PUBLIC = """
budget.patience
conf.conf
decorators.ontraport_required decorators.OntraportRequiredMixin
exceptions.LinkingFailed exceptions.OntraportError exceptions.OntraportMisconfigured exceptions.OntraportRejected
exceptions.OntraportUnavailable exceptions.ReconnectRequired
linking.unlink linking.unlink_tenant
middleware.OntraportMiddleware
models.OntraportAccount models.OntraportEvent
models.OntraportAccount.auth models.OntraportAccount.mcp models.OntraportAccount.objects.for_request models.OntraportAccount.rest
refreshing.refresh
schedule.BEAT_SCHEDULE
signals.account_disconnected signals.account_linked signals.account_needs_reconnect signals.account_recovered signals.account_refreshed
testing.FakeOntraport testing.fake_ontraport
signals.site_accepted signals.site_refused
tasks.refresh_accounts tasks.refresh_expiring_tokens
templatetags.ontraport_connect.register
urls.app_name urls.urlpatterns
"""


def imported(file: Path, tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Yield the absolute name of everything that a module of the package imports, or reads from a wing that it has imported."""
    package = [NAME, *file.parent.parts]
    wings: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            source = ".".join([*above, *([node.module] if node.module else [])])
            for alias in node.names:
                yield f"{source}.{alias.name}", node.lineno
                if source == NAME and alias.name in WINGS:
                    wings[alias.asname or alias.name] = alias.name
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in wings:
            yield f"{NAME}.{wings[node.value.id]}.{node.attr}", node.lineno


def inside_of(name: str) -> str:
    """Return the wing whose module is named, ``linking`` for ``ontraport_connect.linking.owner`` and what is in it; else nothing."""
    package, _, rest = name.partition(".")
    wing, _, rest = rest.partition(".")
    module = rest.partition(".")[0]
    is_module = (PACKAGE / wing / f"{module}.py").exists() or (PACKAGE / wing / module / "__init__.py").exists()
    return wing if package == NAME and wing in WINGS and module and is_module else ""


def test_every_package_is_a_wing_but_those_that_django_looks_for() -> None:
    packages = {file.parts[0] for file in MODULES if len(file.parts) > 1}
    assert packages - {*WINGS} == {"management", "migrations", "templatetags"}


def test_every_wing_has_a_folder_of_tests() -> None:
    assert [wing for wing in WINGS if not any((PROJECT / "tests" / wing).glob("test_*.py"))] == []


def test_nothing_reaches_inside_a_wing() -> None:
    reaching = [
        f"{file}:{line} {name}"
        for file in MODULES
        for name, line in imported(file, ast.parse((PACKAGE / file).read_text()))
        if (wing := inside_of(name)) and file.parts[0] != wing
    ]
    assert reaching == []


@pytest.mark.parametrize(
    "source",
    [
        "import ontraport_connect.linking.owner",
        "from ontraport_connect.linking.owner import Owner",
        "from ontraport_connect.linking import owner",
        "from ..linking import owner",
        "from ..linking.owner import Owner",
        "from ontraport_connect import linking as wing\nwing.owner.Owner",
    ],
)
def test_each_way_into_a_wing_is_seen(source: str) -> None:
    names = [name for name, _ in imported(Path("staff/notices.py"), ast.parse(source))]
    assert "linking" in map(inside_of, names)


def test_a_wing_itself_is_not_its_inside() -> None:
    source = (
        "from ontraport_connect import linking\nfrom ontraport_connect.linking import Owner, unlink\nlinking.unlink()"
    )
    assert [name for name, _ in imported(Path("urls.py"), ast.parse(source)) if inside_of(name)] == []


def looked_up(tree: ast.AST) -> list[str]:
    """Return the calls that look a module up by its name, or an attribute of one of ours."""
    calls = [(node, ast.unparse(node)) for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return [
        call
        for node, call in calls
        if ast.unparse(node.func).endswith(("import_module", "__import__")) or f"import_string('{NAME}" in call
    ]


def test_modules_of_ours_are_looked_up_by_name_in_three_places() -> None:
    """``import_string`` is for what a site names in its settings."""
    calls = {file: looked_up(ast.parse((PACKAGE / file).read_text())) for file in MODULES if file not in OF_OTHERS}
    assert {file: found for file, found in calls.items() if found} == {file: [call] for file, call in LOOKED_UP.items()}


def test_who_looks_up_packages_of_others_names_none_of_ours() -> None:
    for file in OF_OTHERS:
        tree = ast.parse((PACKAGE / file).read_text())
        assert looked_up(tree)
        assert not [
            node for node in ast.walk(tree) if isinstance(node, ast.Name) and node.id in {"__name__", "__package__"}
        ]
        texts = [
            node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)
        ]
        assert [text for text in texts if re.fullmatch(rf"(\.|{NAME}\.)[\w.]*", text)] == []


def test_no_function_imports_anything() -> None:
    importing = {
        (file, function.name)
        for file in MODULES
        for function in ast.walk(ast.parse((PACKAGE / file).read_text()))
        if isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef))
        for node in ast.walk(function)
        if isinstance(node, (ast.Import, ast.ImportFrom))
    }
    assert importing == {AT_START}


def test_at_most_sixteen_modules_stand_outside_the_wings() -> None:
    assert len(modules(PACKAGE)) <= 16


@pytest.mark.parametrize("name", PUBLIC.split())
def test_a_public_name_stays_where_it_is(name: str) -> None:
    """Sites import these: they move in a major version only."""
    assert resolve_name(f"{NAME}.{name}") is not None


def test_every_module_says_what_it_is_for() -> None:
    silent = [
        file
        for file in MODULES
        if file.parts[0] != "migrations"
        and ast.get_docstring(ast.parse((PACKAGE / file).read_text())) is None
        and (PACKAGE / file).read_text().strip()
    ]
    assert silent == []


def test_the_page_names_modules_that_exist() -> None:
    paths = list(named_paths(PAGE.read_text()))
    assert len(paths) > len(WINGS)
    assert [str(path.relative_to(PROJECT)) for path in paths if not path.exists()] == []


def test_the_picture_of_the_wings_and_the_map_are_true() -> None:
    """Rewrite both with ``python -m tests.support.package_map``."""
    page = PAGE.read_text()
    assert page == rewritten(page)


def too_long(files: Iterable[Path], most: int) -> list[str]:
    lengths = {str(file.relative_to(PROJECT)): len(file.read_text().splitlines()) for file in files}
    return [f"{file} has {lines} lines" for file, lines in sorted(lengths.items()) if lines > most]


def test_no_module_of_the_package_is_over_250_lines() -> None:
    assert too_long((PACKAGE / file for file in MODULES if file.parts[0] != "migrations"), 250) == []


def test_no_module_of_the_tests_is_over_450_lines() -> None:
    assert too_long((PROJECT / "tests").rglob("*.py"), 450) == []
