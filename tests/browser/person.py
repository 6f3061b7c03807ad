"""What a person does at the sandbox."""

from __future__ import annotations

from playwright.sync_api import Page


def sign_in(page: Page, username: str = "owner") -> None:
    page.get_by_label("Username").fill(username)
    page.get_by_label("Password").fill("sandbox")
    page.get_by_role("button", name="Log in").click()


def allow(page: Page) -> None:
    page.get_by_role("button", name="Allow").click()


def deny(page: Page) -> None:
    page.get_by_role("button", name="Deny").click()


def link(page: Page, username: str = "owner") -> None:
    """Go the whole way from the button on the adopter's page and back."""
    page.goto("/")
    page.get_by_role("button", name="Connect Ontraport").first.click()
    sign_in(page, username)
    allow(page)
