"""Stores in which calls to Ontraport accounts are counted: Redis when the site has one, else the database.

A store holds one text per key. ``reserve`` changes it in one round trip. For what is rare, ``load`` reads it together with the store's
clock, and ``replace`` writes it only if nobody else has meanwhile (compare and set).
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from importlib import import_module
from typing import Any, Protocol

from django.db import connections, transaction
from django.db.models import F
from django.db.models.functions import Length, Substr
from django.utils import timezone

from ontraport_connect import refreshing
from ontraport_connect.database import alias
from ontraport_connect.models import Now, OntraportBudget, aware

from .rate_statements import REPLACE, RESERVE, reserve_sql
from .rate_window import DIGITS, Slot, Window
from .redis_server import RedisServer, UnusableRedis, find_redis

logger = logging.getLogger("ontraport_connect")

PREFIX = "ontraport_connect.using.rate_limiter:"
REDIS_PAUSE = 10.0
"""Seconds for which calls are counted in the database after Redis has failed."""

KEEP = 3_600_000
"""Milliseconds after which Redis forgets an account that is not called."""

IDLE = timedelta(days=1)
"""Age after which a row of the database may be deleted: far beyond any window, and beyond the longest pause that a 429 asks for."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Held:
    """What a store holds under a key: its text, the mark that ``replace`` compares, and the store's time in milliseconds."""

    state: str
    mark: Any
    now: int


class Store(Protocol):
    def reserve(self, key: str, *, window: Window, requests: int, patience: float) -> Slot | None:
        """Reserve a slot as ``rate_window.reserve`` does. Returns ``None`` where that has to be done with ``load`` and ``replace``."""

    def load(self, key: str) -> Held: ...

    def replace(self, key: str, held: Held, state: str) -> bool: ...


class DatabaseStore:
    def reserve(self, key: str, *, window: Window, requests: int, patience: float) -> Slot | None:
        connection = connections[alias()]
        has_returning = connection.features.can_return_columns_from_insert
        table = connection.ops.quote_name(OntraportBudget._meta.db_table)
        sql = reserve_sql(connection.vendor, table, window.most, requests) if has_returning else None
        if sql is None:
            return None
        with connection.cursor() as cursor:
            cursor.execute(sql, {"key": key, "span": window.span, "patience": round(patience * 1000)})
            row = cursor.fetchone()
        return row and Slot(*row)

    def load(self, key: str) -> Held:
        rows = OntraportBudget.objects.using(alias()).annotate(now=Now()).filter(pk=key)
        row = rows.first()
        if row is None:
            OntraportBudget.objects.using(alias()).bulk_create([OntraportBudget(key=key)], ignore_conflicts=True)
            row = rows.get()
        return Held(state=row.state, mark=row.version, now=round(aware(row.now).timestamp() * 1000))

    def replace(self, key: str, held: Held, state: str) -> bool:
        row = OntraportBudget.objects.using(alias()).filter(pk=key, version=held.mark)
        return bool(row.update(state=state, version=F("version") + 1))


def delete_idle_budgets(limit: int) -> None:
    """Delete up to ``limit`` rows of the rate limiter that were last written more than ``IDLE`` ago.

    The time is read from the text that ``State.write`` makes: 13 digits, which sort like numbers. Rows of other texts stay.
    """
    before = round((timezone.now() - IDLE).timestamp() * 1000)
    rows = OntraportBudget.objects.using(alias()).annotate(
        start=Substr("state", 1, 1), seen=Substr("state", DIGITS + 1, DIGITS), length=Length("state")
    )
    idle = rows.filter(start__in="01", length__gte=2 * DIGITS, seen__lt=str(before))
    keys = list(idle.values_list("pk", flat=True)[:limit])
    if keys:
        with refreshing.left_if_locked("idle rows of the rate limiter"), transaction.atomic(using=alias()):
            refreshing.unlocked(idle.filter(pk__in=keys)).delete()  # only those that nobody has called with since


class RedisStore:
    """Redis, as long as it answers. Its client is imported by the first call, and not when the site starts."""

    def __init__(self, server: RedisServer) -> None:
        redis = import_module("redis")
        self.failures: tuple[type[Exception], ...] = (redis.RedisError, OSError, ValueError, TypeError, LookupError)
        self._redis: Any = redis.Redis.from_url(
            server.url,
            **dict(server.options),
            socket_connect_timeout=0.5,
            socket_timeout=1,
            decode_responses=True,
        )
        self._reserve = self._redis.register_script(RESERVE)
        self._rests_until = 0.0
        self._has_failed = False

    def reserve(self, key: str, *, window: Window, requests: int, patience: float) -> Slot | None:
        wanted = [window.most, window.span, requests, round(patience * 1000), KEEP]
        times = self._reserve(keys=[PREFIX + key], args=wanted)
        self._has_failed = False
        return Slot(*map(int, times)) if times else None

    def load(self, key: str) -> Held:
        state, (seconds, microseconds) = self._redis.pipeline(transaction=False).get(PREFIX + key).time().execute()
        self._has_failed = False
        return Held(state=state or "", mark=state or "", now=seconds * 1000 + microseconds // 1000)

    def replace(self, key: str, held: Held, state: str) -> bool:
        return bool(self._redis.eval(REPLACE, 1, PREFIX + key, held.mark, state, KEEP))

    def rests(self) -> bool:
        """Tell whether the store has failed just now."""
        return time.monotonic() < self._rests_until

    def note_failure(self, error: Exception) -> None:
        """Leave Redis alone for a while. That is logged once, until Redis answers again."""
        self._rests_until = time.monotonic() + REDIS_PAUSE
        if not self._has_failed:
            self._has_failed = True
            logger.warning("Redis does not answer (%s); calls are counted in the database.", type(error).__name__)


class MemoryStore:
    """Counts in this object. For tests: what one has counted, or the pause after its 429, is nothing to the next."""

    def __init__(self) -> None:
        self._states: dict[str, str] = {}
        self._lock = threading.Lock()

    def reserve(self, key: str, *, window: Window, requests: int, patience: float) -> None:
        return None

    def load(self, key: str) -> Held:
        state = self._states.get(key, "")
        return Held(state=state, mark=state, now=round(time.time() * 1000))

    def replace(self, key: str, held: Held, state: str) -> bool:
        with self._lock:
            if self._states.get(key, "") != held.mark:
                return False
            self._states[key] = state
            return True


_plugged: list[MemoryStore] = []


def plugged_store() -> MemoryStore | None:
    return _plugged[-1] if _plugged else None


@contextmanager
def counted_in_memory() -> Iterator[None]:
    """Within this block, calls of this process are counted in a store of their own."""
    _plugged.append(MemoryStore())
    try:
        yield
    finally:
        _plugged.pop()


def redis_store() -> RedisStore | None:
    """Return the site's Redis, or ``None`` when there is none that can be used."""
    try:
        server = find_redis()
    except UnusableRedis as error:
        _warn(str(error))
        return None
    return None if server is None else _redis_store(server)


@lru_cache(maxsize=4)
def _redis_store(server: RedisServer) -> RedisStore | None:
    try:
        return RedisStore(server)
    except ImportError:
        _warn(f"{server.setting}: the extra redis is not installed")
        return None
    except Exception as error:  # noqa: BLE001  # whatever redis-py says of an address or option
        _warn(f"{server.setting}: {type(error).__name__}")
        return None


@lru_cache(maxsize=16)
def _warn(reason: str) -> None:
    """Log a reason once."""
    logger.warning("The site's Redis cannot be used (%s); calls are counted in the database.", reason)
