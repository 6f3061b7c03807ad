"""``python -m tests.benchmarks``: all benchmarks in one run, as a table and as JSON.

They use a PostgreSQL and a Valkey started for this run. ``--quick`` only shows that everything works; its figures mean nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("TEST_DATABASE", "postgresql")
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")

import django

django.setup()

from tests.benchmarks import beat, kills, mcp, network, page_tests, pages, sustained, throughput  # noqa: E402
from tests.benchmarks.site import Site, open_site, table  # noqa: E402


def parts(site: Site, quick: bool) -> dict[str, tuple[str, Callable[[], list[dict[str, Any]]]]]:
    return {
        "throughput": (throughput.__doc__ or "", lambda: throughput.measure(site, 200 if quick else 2_000)),
        "calls": (network.__doc__ or "", lambda: network.measure(site, 60 if quick else 400)),
        "mcp": (mcp.__doc__ or "", lambda: mcp.measure(site, 20 if quick else 100)),
        "refreshing": (
            network.measure_refreshing.__doc__ or "",
            lambda: network.measure_refreshing(site, 320 if quick else 1_920),
        ),
        "beat": (beat.__doc__ or "", lambda: beat.measure((2_000, 5_000) if quick else (10_000, 1_000_000))),
        "pages": (pages.__doc__ or "", pages.measure),
        "page tests": (page_tests.__doc__ or "", lambda: page_tests.measure(20 if quick else 300)),
        "sustained": (sustained.__doc__ or "", lambda: sustained.measure(site, 5 if quick else 120)),
        "kills": (kills.KILLS, lambda: kills.measure(site, 2 if quick else 10)),
        "window": (kills.WINDOW, lambda: kills.measure_window(site, 100 if quick else 500)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument(
        "parts",
        nargs="*",
        help="throughput, calls, mcp, refreshing, beat, pages, page tests, sustained, kills, window; all without a name",
    )
    parser.add_argument("--json", type=Path, default=Path("benchmarks.json"), help="where the figures are written")
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    results: dict[str, Any] = {
        "python": platform.python_version(),
        "cpus": os.cpu_count(),
        "django": django.__version__,
    }
    with open_site() as site:
        for name, (title, measure) in parts(site, arguments.quick).items():
            if not arguments.parts or name in arguments.parts:
                results[name] = measure()
                print(table(title, results[name]), flush=True)
    arguments.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
