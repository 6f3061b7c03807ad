"""Stores in which calls to Ontraport accounts are counted: Redis when the site has one, else the database.

A store holds one text per key. ``load`` reads it together with the store's clock; ``replace`` writes it only if nobody else has meanwhile
(compare and set).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol

from django.conf import settings
from django.db.models import F
from django.db.models.functions import Now
from django.utils import timezone

from ontraport_connect.conf import conf
from ontraport_connect.database import alias
from ontraport_connect.models import OntraportBudget

RedisErrors: tuple[type[Exception], ...]
"""Raised when Redis cannot be used. Empty without the extra ``redis``."""

try:
    from redis import Redis, RedisError
except ImportError:  # the extra is not installed
    Redis, RedisErrors = None, ()  # type: ignore[assignment, misc]
else:
    RedisErrors = (RedisError,)

PREFIX = "ontraport_connect.using.rate_limiter:"
KEEP = 3_600_000
"""Milliseconds after which Redis forgets an account that is not called."""

REPLACE = "if (redis.call('GET', KEYS[1]) or '') ~= ARGV[1] then return 0 end redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3]) return 1"


@dataclass(frozen=True, kw_only=True, slots=True)
class Held:
    """What a store holds under a key: its text, the mark that ``replace`` compares, and the store's time in milliseconds."""

    state: str
    mark: Any
    now: int


class Store(Protocol):
    def load(self, key: str) -> Held: ...

    def replace(self, key: str, held: Held, state: str) -> bool: ...


class DatabaseStore:
    def load(self, key: str) -> Held:
        rows = OntraportBudget.objects.using(alias()).annotate(now=Now()).filter(pk=key)
        row = rows.first()
        if row is None:
            OntraportBudget.objects.using(alias()).bulk_create([OntraportBudget(key=key)], ignore_conflicts=True)
            row = rows.get()
        now = row.now if timezone.is_aware(row.now) else timezone.make_aware(row.now)
        return Held(state=row.state, mark=row.version, now=round(now.timestamp() * 1000))

    def replace(self, key: str, held: Held, state: str) -> bool:
        row = OntraportBudget.objects.using(alias()).filter(pk=key, version=held.mark)
        return bool(row.update(state=state, version=F("version") + 1))


class RedisStore:
    def __init__(self, url: str) -> None:
        self._redis: Any = Redis.from_url(url, socket_connect_timeout=0.5, socket_timeout=1, decode_responses=True)

    def load(self, key: str) -> Held:
        state, (seconds, microseconds) = self._redis.pipeline(transaction=False).get(PREFIX + key).time().execute()
        return Held(state=state or "", mark=state or "", now=seconds * 1000 + microseconds // 1000)

    def replace(self, key: str, held: Held, state: str) -> bool:
        return bool(self._redis.eval(REPLACE, 1, PREFIX + key, held.mark, state, KEEP))


def redis_store() -> RedisStore | None:
    url = redis_url()
    return _redis_store(url) if url and RedisErrors else None


@lru_cache(maxsize=4)
def _redis_store(url: str) -> RedisStore:
    return RedisStore(url)


def redis_url() -> str:
    """Return the URL of ``ONTRAPORT_REDIS_URL``, the default cache, or Celery's broker: the first that is a Redis, or an empty text."""
    cache = settings.CACHES.get("default", {})
    location = cache.get("LOCATION", "") if cache.get("BACKEND", "").endswith(".RedisCache") else ""
    urls = (
        conf.ONTRAPORT_REDIS_URL,
        location[0] if isinstance(location, (list, tuple)) else location.split(",")[0].split(";")[0],
        getattr(settings, "CELERY_BROKER_URL", None),
    )
    return next(
        (url for url in urls if isinstance(url, str) and url.startswith(("redis://", "rediss://", "unix://"))), ""
    )
