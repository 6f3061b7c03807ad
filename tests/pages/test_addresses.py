"""The site's own addresses as Ontraport knows them, and validation of ``next``."""

from __future__ import annotations

import uuid

import pytest
from django.test import RequestFactory, override_settings

from ontraport_connect import urls
from ontraport_connect.linking.site_pages import PATHS, beside
from ontraport_connect.pages import addresses

REQUEST = RequestFactory().get("/", headers={"Host": "shop.example"}, secure=True)
FORGED = RequestFactory().get("/", headers={"Host": "attacker.example", "X-Forwarded-Host": "attacker.example"})
CALLBACK = "https://shop.example/ontraport/callback/"


def test_the_redirect_uri_is_built_from_the_request_where_none_is_set() -> None:
    assert addresses.redirect_uri(REQUEST) == CALLBACK
    assert addresses.client_metadata_url(REQUEST) == "https://shop.example/ontraport/client.json"


@override_settings(ONTRAPORT_REDIRECT_URI=CALLBACK)
def test_no_header_changes_an_address_that_is_set() -> None:
    assert addresses.redirect_uri(FORGED) == CALLBACK
    assert addresses.client_metadata_url(FORGED) == "https://shop.example/ontraport/client.json"
    assert "attacker" not in str(addresses.client_metadata(FORGED))


@pytest.mark.parametrize(
    ("callback", "expected"),
    [
        ("https://shop.example/ontraport/callback/", "https://shop.example/ontraport/connect/"),
        ("https://shop.example/app/de/o/callback/", "https://shop.example/app/de/o/connect/"),
        ("https://shop.example/cb/", "https://shop.example/ontraport/connect/"),
    ],
)
def test_the_pages_are_beside_the_callback(callback: str, expected: str) -> None:
    """A callback whose path is another's (a check says so) leads to the path of the URLconf."""
    assert beside(callback, "connect") == expected


def test_the_paths_beside_the_callback_are_those_of_the_urls() -> None:
    own = {pattern.name: str(pattern.pattern) for pattern in urls.urlpatterns}
    assert {name: own[name] for name in PATHS} == dict(PATHS)
    assert own["callback"] == "callback/"


def test_the_client_metadata_are_those_of_a_public_client() -> None:
    """RFC 7591, section 2, and OAuth Client ID Metadata Document: the client id is the document's own URL."""
    assert addresses.client_metadata(REQUEST) == {
        "client_id": "https://shop.example/ontraport/client.json",
        "client_name": "shop.example",
        "client_uri": "https://shop.example/",
        "redirect_uris": [CALLBACK],
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
        "token_endpoint_auth_method": "none",
        "application_type": "web",
        "scope": "mcp:tools",
    }


@override_settings(ONTRAPORT_REDIRECT_URI="http://127.0.0.1:8000/ontraport/callback/")
def test_a_site_on_a_laptop_is_a_native_client() -> None:
    """OpenID Connect Dynamic Client Registration 1.0, section 2: a web client may not use http on a loopback host."""
    metadata = addresses.client_metadata(FORGED)
    assert (metadata["application_type"], metadata["client_name"]) == ("native", "127.0.0.1:8000")


@pytest.mark.parametrize(
    ("setting", "url"),
    [
        (None, "/ontraport/"),
        ("/dashboard/", "/dashboard/"),
        ("ontraport_connect:connect", "/ontraport/connect/"),
        ("https://app.shop.example/done", "https://app.shop.example/done"),
    ],
)
def test_where_a_finished_link_lands(setting: str | None, url: str) -> None:
    with override_settings(ONTRAPORT_AFTER_LINK_URL=setting):
        assert addresses.after_link_url() == url


@pytest.mark.parametrize("path", ["/", "/a/b/?c=d&e=%2F%2Fx#f", "/möbel/", "/a//b", "/@x", "/a:b", "/%5c%5cx"])
def test_a_path_on_this_site_is_kept(path: str) -> None:
    assert addresses.local_path(path) == path


ELSEWHERE = [
    "",
    " ",
    "dashboard/",
    "?next=/",
    "#",
    ".",
    "..//x",
    "@attacker.example",
    "https://attacker.example",
    "http://attacker.example/",
    "HTTPS://attacker.example",
    "https:attacker.example",
    "https:/attacker.example",
    "https:///attacker.example",
    "http:\\\\attacker.example",
    "//attacker.example",
    "///attacker.example",
    "////attacker.example",
    "//attacker.example/%2f..",
    "//attacker.example:443/",
    "//user@attacker.example",
    "//shop.example@attacker.example",
    "/\\attacker.example",
    "\\/attacker.example",
    "\\\\attacker.example",
    "\\attacker.example",
    "/\\/attacker.example",
    "/a\\b",
    "/\t/attacker.example",
    "/\n/attacker.example",
    "/\r\n/attacker.example",
    "\t//attacker.example",
    " //attacker.example",
    "\n//attacker.example",
    "\x00//attacker.example",
    "/\x00",
    "/\x1f",
    "/\x7f",
    "\u00a0//attacker.example",
    "\u2028//attacker.example",
    "/a\u2028b",
    "/a\u202eb",
    "/a\u200fb",
    "\ufeff//attacker.example",
    "\uff0f\uff0fattacker.example",
    "\u3000//attacker.example",
    "\u2215\u2215attacker.example",
    "javascript:alert(1)",
    "JaVaScRiPt:alert(1)",
    "java\nscript:alert(1)",
    "data:text/html,x",
    "vbscript:x",
    "file:///etc/passwd",
    "ftp://attacker.example",
    "blob:https://attacker.example/x",
    "view-source:https://attacker.example",
    "mailto:x@attacker.example",
    "intent://attacker.example#Intent;scheme=https;end",
    "//[::1]/",
    "//[",
    "https://[",
    "//attacker。example",
    "//%61ttacker.example",
    "/" + "a" * 2000,
    "/\ud800",
]


@pytest.mark.parametrize("target", ELSEWHERE)
def test_nothing_else_is_come_back_to(target: str) -> None:
    assert addresses.local_path(target) == ""


def test_a_handle_is_read_or_is_none() -> None:
    handle = uuid.uuid4()
    assert addresses.uuid_or_none(str(handle)) == addresses.uuid_or_none(handle.hex) == handle
    for text in ("", "nonsense", str(handle)[:-1], "\x00", "1" * 1000):
        assert addresses.uuid_or_none(text) is None
