"""Every way in which Celery and Django's caches name a Redis is understood, or calls are counted in the database, and that is said once."""

from __future__ import annotations

import ssl
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import pytest
import redis
from django.test import override_settings

from ontraport_connect.models import OntraportAccount, OntraportBudget
from ontraport_connect.using import rate_limiter, rate_store
from ontraport_connect.using.redis_server import UnusableRedis, find_redis
from tests.support.servers import Valkey

pytestmark = pytest.mark.django_db(transaction=True)

PASSWORD = "pa#ss/w@rd?100%"


@pytest.fixture(autouse=True)
def forget() -> Iterator[None]:
    yield
    rate_store._redis_store.cache_clear()
    rate_store._warn.cache_clear()


def cache(location: Any, *, backend: str = "django.core.cache.backends.redis.RedisCache", **options: Any) -> Any:
    return {"CACHES": {"default": {"BACKEND": backend, "LOCATION": location, "OPTIONS": options}}}


def broker(url: Any, **settings: Any) -> dict[str, Any]:
    return {"CELERY_BROKER_URL": url, **settings}


UNVERIFIED = {"ssl_cert_reqs": "none", "ssl_check_hostname": False}
VERIFIED = {"ssl_cert_reqs": "required", "ssl_check_hostname": True}

NAMED: list[tuple[dict[str, Any], str, dict[str, Any]]] = [
    ({**broker("redis://b/0"), "ONTRAPORT_REDIS_URL": "redis://a/0"}, "redis://a/0", {}),
    (cache("redis://b/0"), "redis://b/0", {}),
    (cache(["rediss://b/0", "redis://c/0"]), "rediss://b/0", VERIFIED),
    (cache("redis://b/0,redis://c/0"), "redis://b/0", {}),
    (cache("redis://b/0", password="x", db=3, parser_class="p"), "redis://b/0", {"password": "x", "db": 3}),
    (
        cache(
            "redis://b/1",
            backend="django_redis.cache.RedisCache",
            PASSWORD="x",
            CONNECTION_POOL_KWARGS={"protocol": "3"},
        ),
        "redis://b/1",
        {"password": "x", "protocol": 3},
    ),
    ({**cache([]), **broker("redis://d/0")}, "redis://d/0", {}),
    (
        {**cache("redis://mymaster/0", CLIENT_CLASS="django_redis.client.SentinelClient"), **broker("redis://d/0")},
        "redis://d/0",
        {},
    ),
    (broker("redis://d/0;redis://e/0"), "redis://d/0", {}),
    (broker(["redis://d/0", "redis://e/0"]), "redis://d/0", {}),
    (broker("redis://:pa#ss@d:6379/0"), "redis://:pa%23ss@d:6379/0", {}),
    (broker("redis://me:p%40ss@d/0?visibility_timeout=60&db=2"), "redis://me:p%40ss@d/0", {"db": 2}),
    (broker("redis+socket:///run/redis.sock?virtual_host=1"), "unix:///run/redis.sock", {"db": 1}),
    (broker("unix:///run/redis.sock?db=1"), "unix:///run/redis.sock", {"db": 1}),
    (broker("rediss://d/0?ssl_cert_reqs=CERT_NONE"), "rediss://d/0", UNVERIFIED),
    (broker("rediss://d/0?ssl_cert_reqs=none"), "rediss://d/0", UNVERIFIED),
    (broker("rediss://d/0?ssl_cert_reqs=optional"), "rediss://d/0", {**UNVERIFIED, "ssl_cert_reqs": "optional"}),
    (
        broker("rediss://d/0?ssl_cert_reqs=CERT_REQUIRED&ssl_check_hostname=false"),
        "rediss://d/0",
        {**VERIFIED, "ssl_check_hostname": False},
    ),
    (broker("redis://d/0", CELERY_BROKER_USE_SSL={"ssl_cert_reqs": ssl.CERT_NONE}), "rediss://d/0", UNVERIFIED),
    (broker("rediss://d/0", CELERY_BROKER_USE_SSL=True), "rediss://d/0", VERIFIED),
    (broker("redis://d/0?ssl_cert_reqs=none"), "redis://d/0", {}),
]


@pytest.mark.parametrize(("settings", "url", "options"), NAMED)
def test_the_redis_that_the_site_has_is_found(settings: dict[str, Any], url: str, options: dict[str, Any]) -> None:
    """And redis-py takes the address and the options: it looks at them when it makes a connection."""
    with override_settings(**settings):
        server, store = find_redis(), rate_store.redis_store()
    assert server is not None
    assert store is not None
    assert (server.url, dict(server.options)) == (url, options)
    store._redis.connection_pool.make_connection()
    assert "ss@" not in repr(server)


@pytest.mark.parametrize("settings", [{}, cache("", backend="locmem"), broker("amqp://guest@broker//"), broker(None)])
def test_a_site_without_redis_is_not_warned(settings: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    with override_settings(**settings):
        assert rate_store.redis_store() is None
    assert caplog.messages == []


UNUSABLE: list[tuple[dict[str, Any], str]] = [
    (broker("sentinel://a:26379;sentinel://b:26379"), "CELERY_BROKER_URL: Redis Sentinel"),
    (cache("redis://mymaster/0", CLIENT_CLASS="django_redis.client.SentinelClient"), "CACHES: Redis Sentinel"),
    (cache("redis://mymaster/0", SENTINELS=[("a", 26379)]), "CACHES: Redis Sentinel"),
    ({"ONTRAPORT_REDIS_URL": "http://a/0"}, "ONTRAPORT_REDIS_URL: not the address"),
    (
        {"ONTRAPORT_REDIS_URL": urlsplit("redis://:secret@a/0")},
        "ONTRAPORT_REDIS_URL: AttributeError",
    ),  # django-environ's
    ({"ONTRAPORT_REDIS_URL": "redis://a:port/0"}, "ONTRAPORT_REDIS_URL: ValueError"),
    ({"ONTRAPORT_REDIS_URL": "redis://[a/0"}, "ONTRAPORT_REDIS_URL: ValueError"),
    ({"ONTRAPORT_REDIS_URL": "redis://:secret@a/0?db=first"}, "ONTRAPORT_REDIS_URL: ValueError"),
    (broker("rediss://d/0?ssl_cert_reqs=maybe"), "CELERY_BROKER_URL: ValueError"),
    (cache("redis://d/0", db=[]), "CACHES: TypeError"),
    (cache("redis://d/0", password=[]), "CACHES: TypeError"),
]


@pytest.mark.parametrize(("settings", "reason"), UNUSABLE)
def test_a_redis_that_cannot_be_used_is_said_once_and_the_database_counts(
    settings: dict[str, Any], reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    with override_settings(**settings):
        for _ in range(3):
            rate_limiter.reserve(OntraportAccount(ontraport_id="187157"), patience=0)
    assert OntraportBudget.objects.count() == 1
    (message,) = caplog.messages
    assert message.startswith(f"The site's Redis cannot be used ({reason}")
    assert "secret" not in message


def test_what_redis_says_of_a_wrong_option_does_not_reach_a_caller(
    valkey: Valkey, caplog: pytest.LogCaptureFixture
) -> None:
    """Some options are looked at when a connection is made."""
    with override_settings(ONTRAPORT_REDIS_URL=f"{valkey.url}?protocol=9"):
        for _ in range(3):
            rate_limiter.reserve(OntraportAccount(ontraport_id="187157"), patience=0)
    assert OntraportBudget.objects.count() == 1
    assert len(caplog.messages) == 1


@pytest.mark.parametrize("by", ["address", "options"])
def test_a_password_with_any_character_opens_redis(valkey: Valkey, by: str) -> None:
    address = valkey.url.removeprefix("redis://")
    settings = broker(f"redis://:{PASSWORD}@{address}") if by == "address" else cache(valkey.url, password=PASSWORD)
    with redis.Redis.from_url(valkey.url) as admin:
        admin.config_set("requirepass", PASSWORD)
        try:
            with override_settings(**settings):
                rate_limiter.reserve(OntraportAccount(ontraport_id="187157"), patience=0)
            assert admin.keys() == [b"ontraport_connect.using.rate_limiter:account:187157"]
        finally:
            admin.config_set("requirepass", "")
    assert not OntraportBudget.objects.exists()


SITE = """
import sys
import django
from django.conf import settings
{first}
settings.configure(
    INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "ontraport_connect"],
    SECRET_KEY="of a site that is gone in a moment",
    ONTRAPORT_REDIS_URL="redis://127.0.0.1/0",
)
django.setup()
from ontraport_connect import middleware, tasks, urls, using
{then}
"""
"""A site with the least settings: those of the tests import redis themselves."""


def said_by(**parts: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", SITE.format(**parts)], capture_output=True, text=True, check=False, timeout=30
    )
    return done.stdout + done.stderr


def test_a_site_that_starts_imports_neither_redis_nor_an_http_client_of_the_sdk() -> None:
    then = "print(sorted({'redis', 'httpx', 'httpx2', 'mcp', 'anyio'} & {*sys.modules}))"
    assert said_by(first="", then=then) == "[]\n"


def test_without_the_extra_the_database_counts() -> None:
    """In a Python that has no redis."""
    then = "from ontraport_connect.using import rate_store\nprint(rate_store.redis_store())"
    said = said_by(first="sys.modules['redis'] = None", then=then)
    assert "None\n" in said
    assert "(ONTRAPORT_REDIS_URL: the extra redis is not installed)" in said


def test_an_address_is_not_in_the_reason() -> None:
    with override_settings(ONTRAPORT_REDIS_URL="redis://:secret@a:port/0"), pytest.raises(UnusableRedis) as raised:
        find_redis()
    assert "secret" not in str(raised.value)


def test_whatever_the_client_of_redis_says_the_database_counts(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A version of it, say, that is not the one we know."""
    monkeypatch.setitem(sys.modules, "redis", SimpleNamespace(RedisError=Exception))
    with override_settings(ONTRAPORT_REDIS_URL="redis://127.0.0.1/0"):
        assert rate_store.redis_store() is None
    assert "(ONTRAPORT_REDIS_URL: AttributeError)" in caplog.text


@pytest.mark.parametrize("module", ["ontraport_connect.using", "ontraport_connect.protocol"])
def test_what_is_imported_late_hides_no_wrong_name(module: str) -> None:
    with pytest.raises(AttributeError, match="HttpAuth"):
        import_module(module).HttpAuth  # noqa: B018  # a typing error
