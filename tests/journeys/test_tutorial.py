"""The tutorial, followed to the letter with the wheel in an empty folder."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from example_project.demo.browser import Browser
from tests.conftest import unavailable
from tests.support.servers import accepts_connections, wait_until
from tests.support.tutorial import Follower

SITE, STAND_IN = 8000, 8001
"""The ports that the tutorial names."""


@pytest.fixture
def newcomer(tmp_path: Path, wheel: Path) -> Iterator[Follower]:
    if any(map(accepts_connections, (SITE, STAND_IN))):
        unavailable(f"the ports {SITE} and {STAND_IN}, which the tutorial names, are in use on this machine")
    follower = Follower("start/tutorial.md", tmp_path, wheel)
    yield follower
    follower.stop()


def link_as_the_tutorial_says() -> str:
    """Do what section 6 says, and return the text of the page that one ends on."""
    browser = Browser()
    page = browser.open(f"http://127.0.0.1:{SITE}/")
    page = browser.send(page, page.form(names="password"), username="zoe", password="let-zoe-in")
    page = browser.send(page, page.form(action="/ontraport/connect/"))
    page = browser.send(page, page.form(names="password"), username="owner", password="sandbox")
    page = browser.send(page, page.form(names="client_id"), button="allow")
    assert page.url == f"http://127.0.0.1:{SITE}/"
    assert browser.open(page.url).text == page.text, "asked again after a reload"
    return page.text


def test_newcomer_who_follows_the_tutorial_has_a_link_and_sees_contacts(newcomer: Follower) -> None:
    for section in newcomer.sections():
        newcomer.follow(section)
        if section.startswith("5. "):
            wait_until(lambda: all(map(accepts_connections, (SITE, STAND_IN))), "both servers to listen", 60)
        if section.startswith("6. "):
            assert link_as_the_tutorial_says().startswith("Contacts of Harbour Street Coffee")
    assert "connected" in newcomer.run("python manage.py ontraport accounts")
