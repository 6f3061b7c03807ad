"""The trusted CAs and the proxy of all calls."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.test import override_settings

from ontraport_connect import refreshing
from ontraport_connect.encryption import Secret
from ontraport_connect.exceptions import OntraportError, OntraportMisconfigured, OntraportUnavailable
from ontraport_connect.protocol import Proxy, Route, ask_once, shared_transport
from tests.support.connect_proxy import ConnectProxy, connect_proxy
from tests.support.hostile_server import HostileServer, KeepAlive, answer, certificate, hostile_server
from tests.support.servers import HOST, free_port

TIMEOUT = (5, 5)


@pytest.fixture
def secured(tmp_path: Path) -> Iterator[HostileServer]:
    with hostile_server(KeepAlive(answer("{}")), context=certificate(tmp_path)) as server:
        yield server


@pytest.fixture
def bundle(secured: HostileServer, tmp_path: Path) -> str:
    return str(tmp_path / f"{HOST}.pem")


def send(url: str, route: Route) -> None:
    with shared_transport(timeout=TIMEOUT, route=route) as transport:
        transport.send("POST", url, form={"a": Secret("canary-of-the-form")})


def through(proxy: ConnectProxy, bundle: str, credentials: str = "") -> Route:
    return Route(ca_bundle=bundle, proxy=proxy.url.replace("//", f"//{credentials}", 1))


def error_of_mcp(url: str, route: Route) -> OntraportError:
    with pytest.raises(OntraportError) as caught:
        ask_once(url, {"Authorization": Secret("unused")}, "get_account_info", deadlines=TIMEOUT, route=route)
    return caught.value


@pytest.mark.parametrize("over_tls", [False, True], ids=["http", "https"])
def test_a_proxy_sees_host_names_and_its_own_password_and_the_server_does_not_see_that(
    secured: HostileServer, bundle: str, over_tls: bool
) -> None:
    with connect_proxy("me:p@ss", secured._context if over_tls else None) as proxy:
        for _ in range(3):
            send(secured.url, through(proxy, bundle, "me:p%40ss@"))
        (asked,) = proxy.asked
    assert asked.startswith(f"CONNECT {HOST}:{secured.port} HTTP/1.")
    assert f"Basic {base64.b64encode(b'me:p@ss').decode()}" in asked
    assert "canary" not in asked
    assert (len(secured.requests), secured.connections) == (3, 1)
    assert b"proxy" not in b"".join(secured.requests).lower()


def test_through_a_proxy_the_certificate_of_the_server_counts(secured: HostileServer) -> None:
    with connect_proxy() as proxy, pytest.raises(OntraportUnavailable) as caught:
        send(secured.url, Route(proxy=proxy.url))
    assert (caught.value.code, secured.requests) == ("tls", [])


def test_a_proxy_that_refuses_is_a_connection_that_could_not_be_made_and_is_not_quoted(
    secured: HostileServer, bundle: str
) -> None:
    with connect_proxy("me:another") as proxy:
        route = through(proxy, bundle, "me:canary-password@")
        with pytest.raises(OntraportUnavailable) as caught:
            send(secured.url, route)
    assert (caught.value.code, secured.requests) == ("connection", [])
    ours = [frame for frame in caught.traceback if "ontraport_connect" in str(frame.path)]
    assert "canary" not in repr([frame.locals for frame in ours]) + str(caught.value)


def test_a_proxy_that_is_not_there_is_a_connection_that_could_not_be_made(secured: HostileServer, bundle: str) -> None:
    with pytest.raises(OntraportUnavailable) as caught:
        send(secured.url, Route(ca_bundle=bundle, proxy=f"http://{HOST}:{free_port()}"))
    assert (caught.value.code, secured.requests) == ("connection", [])


def test_no_proxy_is_asked_for_a_loopback_host_over_http() -> None:
    with connect_proxy() as proxy, hostile_server(answer("{}", headers="Connection: close\r\n")) as server:
        send(server.url, Route(proxy=proxy.url))
        error_of_mcp(server.url, Route(proxy=proxy.url))
        assert (proxy.asked, len(server.requests)) == ([], 2)


@pytest.mark.parametrize(
    "url",
    [
        "proxy.example.com",
        "proxy.example.com:3128",
        "socks5://proxy.example.com",
        "http://",
        "http://:3128",
        "http://proxy:port",
        "http://proxy:99999",
        "http://proxy/path",
        "http://proxy?a=b",
        "http://[::1",
        7,
        ["http://proxy"],
    ],
)
def test_a_malformed_proxy_is_the_operators_and_nothing_is_sent(secured: HostileServer, bundle: str, url: Any) -> None:
    route = Route(ca_bundle=bundle, proxy=url)
    with pytest.raises(OntraportMisconfigured, match="ONTRAPORT_PROXY") as caught:
        send(secured.url, route)
    assert (caught.value.code, secured.requests) == ("proxy", [])
    assert str(url) not in str(caught.value)
    assert error_of_mcp(secured.url, route).code == "proxy"


def test_a_proxy_is_read() -> None:
    assert Proxy.read("https://proxy.example.com/") == Proxy(
        scheme="https", host="proxy.example.com", port=443, credentials=None
    )
    with_password = Proxy.read("http://me:p%40ss@[::1]:3128")
    assert (with_password.netloc, with_password.credentials) == ("[::1]:3128", "me:p@ss")
    assert Proxy.read("http://proxy").port == 80
    assert "p@ss" not in repr(with_password) + repr(Route(proxy="http://me:p@ss@proxy"))


def test_the_settings_say_which_route_is_taken(secured: HostileServer, bundle: str) -> None:
    with connect_proxy() as proxy:
        with override_settings(ONTRAPORT_CA_BUNDLE=Path(bundle), ONTRAPORT_PROXY=proxy.url):
            for _ in range(3):
                with refreshing.new_transport() as transport:
                    transport.send("POST", secured.url)
        assert len(proxy.asked) == 1
    assert (len(secured.requests), secured.connections) == (3, 1)
    with refreshing.new_transport() as transport, pytest.raises(OntraportUnavailable):
        transport.send("POST", secured.url)


def test_mcp_trusts_whom_all_other_calls_trust(secured: HostileServer, bundle: str) -> None:
    assert error_of_mcp(secured.url, Route()).code == "tls"
    assert secured.requests == []
    assert error_of_mcp(secured.url, Route(ca_bundle=bundle)).code == "nonsense"
    assert len(secured.requests) == 1
    assert error_of_mcp(secured.url, Route(ca_bundle="/no/such/file")).code == "ca_bundle"


@pytest.mark.parametrize("over_tls", [False, True], ids=["http", "https"])
def test_mcp_goes_through_the_proxy_that_all_other_calls_go_through(
    secured: HostileServer, bundle: str, over_tls: bool
) -> None:
    with connect_proxy("me:p@ss", secured._context if over_tls else None) as proxy:
        assert error_of_mcp(secured.url, through(proxy, bundle, "me:p%40ss@")).code == "nonsense"
        assert len(secured.requests) == 1
        assert error_of_mcp(secured.url, through(proxy, bundle)).code == "connection"
    assert len(secured.requests) == 1
    assert b"proxy" not in b"".join(secured.requests).lower()
