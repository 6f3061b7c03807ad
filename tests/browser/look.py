"""What a browser shows and reports: accessibility (axe), the console, violations of the content security policy, screenshots."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import ConsoleMessage, Page

SIZES = {"wide": {"width": 1280, "height": 900}, "narrow": {"width": 320, "height": 640}}
SCHEMES = ("light", "dark")
REPORT_VIOLATIONS = """document.addEventListener('securitypolicyviolation', event =>
    console.error('policy', event.violatedDirective, event.blockedURI))"""

TRANSITIONS_ENDED = (
    "Promise.all(document.getAnimations().map(animation => animation.finished.catch(() => null))).then(() => 0)"
)


class Look:
    """Collects the problems of the pages that it watches."""

    def __init__(self) -> None:
        self.complaints: list[str] = []

    def watch(self, page: Page) -> None:
        page.add_init_script(REPORT_VIOLATIONS)
        page.on("console", self._note)
        page.on("pageerror", lambda error: self.complaints.append(f"script: {error}"))

    def _note(self, message: ConsoleMessage) -> None:
        """Ignore the console message about a 4xx or 5xx status that the page is meant to have."""
        if message.type in {"error", "warning"} and "Failed to load resource" not in message.text:
            self.complaints.append(f"{message.location.get('url')}: {message.text}")


def inspect(page: Page, name: str, shots: Path | None, *, but: Sequence[str] = ()) -> None:
    """Check a page wide and narrow, light and dark: no axe violation, nothing wider than the window. Keeps the screenshots.

    ``but`` are selectors of elements that are not ours and are not checked.
    """
    for size, viewport in SIZES.items():
        page.set_viewport_size(viewport)  # type: ignore[arg-type]
        assert page.evaluate("document.documentElement.scrollWidth") <= viewport["width"], f"{name} is too wide"
        for scheme in SCHEMES:
            page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
            page.evaluate(TRANSITIONS_ENDED)
            results = Axe().run(page, {"exclude": list(but)})
            assert results.violations_count == 0, f"{name}, {size}, {scheme}: {results.generate_report()}"
            if shots is not None:
                shots.mkdir(parents=True, exist_ok=True)
                page.screenshot(path=shots / f"{name}-{size}-{scheme}.png", full_page=True)
    page.set_viewport_size(SIZES["wide"])  # type: ignore[arg-type]
    page.emulate_media(color_scheme="light")
