"""Finds the Redis that the site has: ``ONTRAPORT_REDIS_URL``, the default cache, or Celery's broker.

Celery and Django's caches write addresses and options in ways of their own; here they become those of redis-py.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qsl, quote, urlsplit

from django.conf import settings

from ontraport_connect.conf import conf

SCHEMES = {"redis": "redis", "rediss": "rediss", "unix": "unix", "redis+socket": "unix"}

OPTIONS = {
    "client_name",
    "db",
    "password",
    "protocol",
    "ssl_ca_certs",
    "ssl_ca_data",
    "ssl_ca_path",
    "ssl_cert_reqs",
    "ssl_certfile",
    "ssl_check_hostname",
    "ssl_keyfile",
    "ssl_password",
    "username",
}
"""What is passed on of the options in an address, a cache's ``OPTIONS`` or ``CELERY_BROKER_USE_SSL``. Others are the owner's concern."""

SENTINEL = "Redis Sentinel is not supported: name a plain Redis in ONTRAPORT_REDIS_URL"


@dataclass(frozen=True, kw_only=True, slots=True)
class RedisServer:
    """A Redis: the setting that names it, and its address and options as redis-py takes them."""

    setting: str
    url: str = field(repr=False)
    options: tuple[tuple[str, Any], ...] = field(repr=False)


class UnusableRedis(Exception):
    """A setting names a Redis in a way that cannot be used. Its text holds no part of the address."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Named:
    setting: str
    url: str = field(repr=False)
    options: Mapping[str, Any] = field(repr=False)


def find_redis() -> RedisServer | None:
    """Return the first Redis that the settings name. Raises ``UnusableRedis`` when there are only unusable ones."""
    unusable: UnusableRedis | None = None
    for named in _named():
        try:
            return _normalised(named) if named.options else _of_address(named.setting, named.url)
        except UnusableRedis as error:
            unusable = unusable or error
        except (ValueError, TypeError, AttributeError) as error:
            unusable = unusable or UnusableRedis(f"{named.setting}: {type(error).__name__}")
    if unusable is not None:
        raise unusable
    return None


def _named() -> Iterator[_Named]:
    """Yield what the settings name, in the order of preference."""
    if conf.ONTRAPORT_REDIS_URL:
        yield _Named(setting="ONTRAPORT_REDIS_URL", url=conf.ONTRAPORT_REDIS_URL, options={})
    cache = settings.CACHES.get("default", {})
    if cache.get("BACKEND", "").endswith(".RedisCache"):
        yield _Named(setting="CACHES", url=_first(cache.get("LOCATION", "")), options=cache.get("OPTIONS", {}))
    broker = _first(getattr(settings, "CELERY_BROKER_URL", None))
    if broker.startswith("sentinel://") or broker.partition("://")[0] in SCHEMES:
        use_ssl = getattr(settings, "CELERY_BROKER_USE_SSL", None)
        if use_ssl:
            broker = broker.replace("redis://", "rediss://", 1)
        yield _Named(setting="CELERY_BROKER_URL", url=broker, options=use_ssl if isinstance(use_ssl, Mapping) else {})


def _first(url: Any) -> str:
    """Return the first of several addresses, which come as a list, or in one text."""
    if isinstance(url, (list, tuple)):
        url = url[0] if url else ""
    return url.split(",")[0].split(";")[0] if isinstance(url, str) else ""


def _flat(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return options in small letters. django-redis writes them in capitals, and keeps some in a dict of their own."""
    flat = {name.lower(): value for name, value in options.items()}
    return {**flat, **flat.get("connection_pool_kwargs", {})}


@lru_cache(maxsize=8)
def _of_address(setting: str, url: str) -> RedisServer:
    """Do what ``_normalised`` does for an address without options. Every call to Ontraport asks for it."""
    return _normalised(_Named(setting=setting, url=url, options={}))


def _normalised(named: _Named) -> RedisServer:
    scheme, _, rest = named.url.partition("://")
    if scheme == "sentinel" or any("sentinel" in f"{option}".lower() for option in named.options.items()):
        raise UnusableRedis(f"{named.setting}: {SENTINEL}")
    if scheme not in SCHEMES:
        raise UnusableRedis(f"{named.setting}: not the address of a Redis")
    user, at, place = rest.rpartition("@")
    user = quote(user, safe="%:!$&'()*+,;=~")  # a password may contain what ends the host in an address
    parts = urlsplit(f"{SCHEMES[scheme]}://{user}{at}{place}")
    _ = parts.port  # raises ValueError
    given = {**_flat(named.options), **dict(parse_qsl(parts.query))}
    if "virtual_host" in given:
        given.setdefault("db", given["virtual_host"])
    options = {name: _value(name, value) for name, value in given.items() if name in OPTIONS}
    options = {**options, **_tls(options)} if parts.scheme == "rediss" else _without_tls(options)
    return RedisServer(
        setting=named.setting,
        url=f"{parts.scheme}://{parts.netloc}{parts.path}",
        options=tuple(sorted(options.items())),
    )


def _value(name: str, value: Any) -> Any:
    if not isinstance(value, (str, int, type(None))):
        raise TypeError(name)
    return int(value) if name in {"db", "protocol"} and value is not None else value


def _tls(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of TLS as redis-py takes them: ``none`` for Celery's ``CERT_NONE`` and for the constant of ``ssl``."""
    wanted = options.get("ssl_cert_reqs", "required")
    verify = str(getattr(wanted, "name", wanted)).lower().removeprefix("cert_")
    if verify not in {"none", "optional", "required"}:
        raise ValueError("ssl_cert_reqs")
    is_checked = str(options.get("ssl_check_hostname", True)).lower() in {"true", "1", "yes"}
    return {"ssl_cert_reqs": verify, "ssl_check_hostname": is_checked and verify == "required"}


def _without_tls(options: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if not name.startswith("ssl_")}
