"""The reference, read out of the code: each function returns Markdown. Django has to be set up.

Nothing is written by hand here: what a name is for stands in its docstring, help text, message or hint.
"""

from __future__ import annotations

import ast
import inspect
from argparse import SUPPRESS, Action, ArgumentParser, _SubParsersAction
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path

from django.dispatch import Signal

import ontraport_connect
from ontraport_connect import exceptions, signals
from ontraport_connect import urls as url_module
from ontraport_connect.conf import OntraportSettings, conf
from ontraport_connect.exceptions import OntraportError
from ontraport_connect.management.commands import ontraport
from ontraport_connect.models import EventKind

PACKAGE = Path(ontraport_connect.__file__).parent
LEVELS = {"Error": "error", "Critical": "critical", "Warning": "warning", "Info": "information"}
COMMON = {"help", "version", "settings", "pythonpath", "traceback", "no_color", "force_color", "verbosity"}


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Write a Markdown table. Bars in cells are escaped, line breaks become blanks."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(
        "| " + " | ".join(" ".join(cell.split()).replace("|", r"\|") for cell in row) + " |" for row in lines
    )


def markdown(text: str) -> str:
    """Return a docstring's text with code in single backticks."""
    return " ".join(text.replace("``", "`").split())


def code(text: str) -> str:
    return f"`{text}`" if text else ""


def trees() -> Iterator[ast.Module]:
    """Yield the syntax tree of each module of the package."""
    for file in sorted(PACKAGE.rglob("*.py")):
        yield ast.parse(file.read_text())


def calls() -> Iterator[ast.Call]:
    return (node for tree in trees() for node in ast.walk(tree) if isinstance(node, ast.Call))


def keywords(call: ast.Call) -> Mapping[str, ast.expr]:
    return {keyword.arg: keyword.value for keyword in call.keywords if keyword.arg}


def words(expression: ast.expr | None) -> str:
    """Return the text of a string; what is filled in when it runs becomes an ellipsis. Empty for anything else."""
    if isinstance(expression, ast.Constant):
        return str(expression.value)
    if isinstance(expression, ast.JoinedStr):
        return "".join(words(part) or "…" for part in expression.values)
    return ""


def settings() -> str:
    """Every setting: its type, its default, and what its docstring says."""
    rows = [
        [code(name), code(inspect.get_annotations(value.fget)["return"]), code(repr(getattr(conf, name)))]
        for name, value in vars(OntraportSettings).items()
        if isinstance(value, property)
    ]
    return table(["setting", "type", "default"], sorted(rows))


def urls() -> str:
    """Every URL: its name, its path below the place where you include it, and what its view does."""
    rows = [
        [
            code(f"{url_module.app_name}:{pattern.name}"),
            code(str(pattern.pattern)) or "(nothing)",
            markdown((inspect.getdoc(pattern.callback) or "").split("\n\n")[0]),
        ]
        for pattern in url_module.urlpatterns
    ]
    return table(["name", "path", "what it does"], rows)


def docstrings_of_names(file: Path) -> dict[str, str]:
    """Return the text that stands below each assignment of a module."""
    body = ast.parse(file.read_text()).body
    return {
        target.id: words(below.value)
        for statement, below in pairwise(body)
        if isinstance(statement, ast.Assign) and isinstance(below, ast.Expr)
        for target in statement.targets
        if isinstance(target, ast.Name)
    }


def arguments_sent() -> dict[str, set[str]]:
    """Return what each signal is sent with, besides the sender."""
    sent: dict[str, set[str]] = {}
    for call in calls():
        if call.args and ast.unparse(call.func).rpartition(".")[2] == "tell":
            sent.setdefault(ast.unparse(call.args[0]), set()).update(keywords(call))
    return sent


def signal_names() -> list[str]:
    return [name for name, value in vars(signals).items() if isinstance(value, Signal)]


def signal_table() -> str:
    """Every signal: when it is sent, and with what."""
    sent, said = arguments_sent(), docstrings_of_names(PACKAGE / "signals.py")
    rows = [
        [code(name), ", ".join(map(code, sorted(sent.get(name, ())))), markdown(said.get(name, ""))]
        for name in signal_names()
    ]
    return table(["signal", "sent with", "when"], rows)


def entries(directive: str, module: str, names: Iterable[str], *options: str) -> str:
    """Write an entry of autodoc for each name, so that it is in the index and can be linked to."""
    lines = [line for name in names for line in (f".. {directive}:: {module}.{name}", *options, "")]
    return "\n".join(["```{eval-rst}", *lines, "```"])


def signal_entries() -> str:
    return entries("autodata", signals.__name__, signal_names(), "   :no-value:")


def error_entries() -> str:
    return entries("autoexception", exceptions.__name__, error_classes())


def events() -> str:
    """Every kind of event in the history of links."""
    return table(["kind", "shown to staff as"], [[code(kind.value), str(kind.label)] for kind in EventKind])


def error_classes() -> dict[str, type[OntraportError]]:
    found = (value for value in vars(exceptions).values() if isinstance(value, type))
    return {error.__name__: error for error in found if issubclass(error, OntraportError)}


def errors() -> str:
    """Every error: what it is under, its default code, and what the caller has to do."""
    rows = [
        [code(name), code(error.__base__.__name__), code(error.default_code), markdown(inspect.getdoc(error) or "")]
        for name, error in error_classes().items()
        if error.__base__ is not None
    ]
    return table(["error", "under", "code", "meaning"], rows)


def error_codes() -> str:
    """Every code that the package gives an error where it raises one, but those of answers, which are not known in advance."""
    found: dict[str, set[str]] = {}
    for call in calls():
        name = ast.unparse(call.func).rpartition(".")[2]
        if name in error_classes() and (text := words(keywords(call).get("code"))):
            found.setdefault(name, set()).add(text)
    rows = [[code(name), ", ".join(map(code, sorted(codes)))] for name, codes in sorted(found.items())]
    return table(["error", "codes"], rows)


def checks() -> str:
    """Every system check: its id, its level, its message and its hint."""
    rows = set()
    for call in calls():
        level = LEVELS.get(ast.unparse(call.func).rpartition(".")[2])
        named = keywords(call)
        if level and words(named.get("id")).startswith("ontraport_connect."):
            message = words(call.args[0]) or "(what is wrong with the value)"
            rows.add((code(words(named["id"])), level, message, words(named.get("hint"))))
    return table(["id", "level", "message", "hint"], sorted(rows))


def subcommands() -> Mapping[str, ArgumentParser]:
    """Return the parser of each subcommand of ``manage.py ontraport``."""
    parser = ontraport.Command().create_parser("manage.py", "ontraport")
    (found,) = (action.choices for action in parser._actions if isinstance(action, _SubParsersAction))
    return dict(found)


def options(parser: ArgumentParser) -> Iterator[tuple[str, Action]]:
    """Yield the arguments of a subcommand, as one writes them."""
    for action in parser._actions:
        if action.help == SUPPRESS or action.dest in COMMON:
            continue
        value = str(action.metavar or action.dest.upper()) if action.nargs != 0 else ""
        value = "|".join(map(str, action.choices)) if action.choices else value
        yield " ".join([*action.option_strings, value]).strip(), action


def commands() -> str:
    """Every subcommand: what it does, and its arguments."""
    parts = []
    for name, parser in subcommands().items():
        rows = [[code(written), action.help or ""] for written, action in options(parser)]
        usage = " ".join(parser.format_usage().removeprefix("usage: ").split())
        parts += [f"## {name}", markdown(parser.description or ""), f"```text\n{usage}\n```"]
        parts.append(table(["argument", "meaning"], rows))
    return "\n\n".join(parts)


WRITERS: Mapping[str, Callable[[], str]] = {
    "checks": checks,
    "commands": commands,
    "error-codes": error_codes,
    "error-entries": error_entries,
    "errors": errors,
    "events": events,
    "settings": settings,
    "signal-entries": signal_entries,
    "signals": signal_table,
    "urls": urls,
}
