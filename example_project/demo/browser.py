"""A browser without a person: pages, links and forms over real HTTP."""

from dataclasses import dataclass, field
from html.parser import HTMLParser
from urllib.parse import urljoin, urlsplit

import requests

TIMEOUT = 15.0


@dataclass
class Form:
    """One form of a page: its action, its fields, and the buttons that submit it."""

    action: str
    method: str
    values: dict[str, str] = field(default_factory=dict)
    buttons: list[dict[str, str]] = field(default_factory=list)


class PageParser(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.forms: list[Form] = []
        self.times: dict[str, str] = {}
        self.words: list[str] = []
        self.inside: Form | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = {name: value or "" for name, value in attrs}
        if tag == "form":
            self.inside = Form(attributes.get("action", ""), attributes.get("method", "get").lower())
            self.forms.append(self.inside)
        elif tag == "time" and "id" in attributes:
            self.times[attributes["id"]] = attributes.get("datetime", "")
        elif self.inside and tag == "button":
            self.inside.buttons.append(attributes)
        elif self.inside and tag == "input":
            self.read_input(self.inside, attributes)

    def read_input(self, form: Form, attributes: dict[str, str]) -> None:
        unchosen = attributes.get("type") in {"checkbox", "radio"} and "checked" not in attributes
        if attributes.get("type") == "submit":
            form.buttons.append(attributes)
        elif "name" in attributes and not unchosen:
            form.values[attributes["name"]] = attributes.get("value", "")

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self.inside = None

    def handle_data(self, data: str) -> None:
        self.words.append(data)


class Page:
    """One response, parsed."""

    def __init__(self, response: requests.Response) -> None:
        parser = PageParser()
        parser.feed(response.text)
        self.url = response.url
        self.status = response.status_code
        self.forms = parser.forms
        self.times = parser.times
        self.text = " ".join(" ".join(parser.words).split())

    def form(self, *, action: str = "", names: str = "") -> Form:
        """Return the form whose action ends with this path or that has a field of this name. Raises `LookupError`."""
        for form in self.forms:
            path = urlsplit(urljoin(self.url, form.action)).path
            if (action and path.endswith(action)) or (names and names in form.values):
                return form
        raise LookupError(f"no form {action or names} on {self.url} (status {self.status}): {self.text[:200]}")


class Browser:
    """A session with cookies and redirects that sends the previous page as the referrer."""

    def __init__(self) -> None:
        self.session = requests.Session()
        self.session.trust_env = False

    def open(self, url: str) -> Page:
        return Page(self.session.get(url, timeout=TIMEOUT))

    def send(self, page: Page, form: Form, *, button: str = "", **typed: str) -> Page:
        """Fill in a form and send it, with the button of this value or name when there are several."""
        values = form.values | typed
        for each in form.buttons:
            if button and button in {each.get("value"), each.get("name")} and each.get("name"):
                values[each["name"]] = each.get("value", "")
        response = self.session.request(
            form.method,
            urljoin(page.url, form.action) if form.action else page.url,
            data=values if form.method == "post" else None,
            params=None if form.method == "post" else values,
            headers={"Referer": page.url},
            timeout=TIMEOUT,
        )
        return Page(response)
