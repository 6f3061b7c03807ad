"""``rate_window.reserve`` as one statement of SQL, and as one script for Redis.

Both work on the text of a ``State``: times of 13 digits, the first two being ``until`` and ``seen``. Both leave unusual cases to
``rate_window``: a text in another format, and a clock that was put back; the statement also a row that does not exist.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from .rate_window import CLOCK_JITTER, DIGITS

HEAD = 2 * DIGITS
NEVER = 10**DIGITS - 1

RESERVE = f"""
local text = redis.call('GET', KEYS[1]) or ''
local most, span, requests, patience, keep = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4]), ARGV[5]
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local first, at = {HEAD + 1}, now
local ended = '{"0" * DIGITS}'
if text ~= '' then
  if string.find(text, '%D') or tonumber(string.sub(text, {DIGITS + 1}, {HEAD})) > now + {CLOCK_JITTER} then return {{}} end
  ended = string.sub(text, 1, {DIGITS})
  at = math.max(at, tonumber(ended))
  local room = most - requests + 1
  local before = #text - {DIGITS} * room
  if before >= {HEAD} then at = math.max(at, tonumber(string.sub(text, before + 1, before + {DIGITS})) + span) end
end
if at - now <= patience then
  while first < #text and tonumber(string.sub(text, first, first + {DIGITS - 1})) <= now - span do first = first + {DIGITS} end
  local calls = string.sub(text, first) .. string.rep(string.format('%.0f', at), requests)
  redis.call('SET', KEYS[1], ended .. string.format('%.0f', now) .. calls, 'PX', keep)
end
return {{string.format('%.0f', at), string.format('%.0f', now)}}
"""
"""Returns the time of the turn and the time now. The turn is reserved unless it is too far away. Returns nothing for unusual cases."""

REPLACE = "if (redis.call('GET', KEYS[1]) or '') ~= ARGV[1] then return 0 end redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3]) return 1"


@dataclass(frozen=True, kw_only=True, slots=True)
class _Words:
    """What databases write differently. ``now`` is in milliseconds, and the same wherever it stands in a statement."""

    now: str
    greatest: str
    number: Callable[[str], str]
    text: Callable[[str], str]


_WORDS = {
    "postgresql": _Words(
        now="CAST(FLOOR(EXTRACT(EPOCH FROM STATEMENT_TIMESTAMP()) * 1000) AS bigint)",
        greatest="GREATEST",
        number="CAST({} AS bigint)".format,
        text="CAST({} AS text)".format,
    ),
    "sqlite": _Words(
        now="CAST(STRFTIME('%%s', 'now') || SUBSTR(STRFTIME('%%f', 'now'), 4, 3) AS integer)",
        greatest="MAX",
        number="CAST({} AS integer)".format,
        text="CAST({} AS text)".format,
    ),
}


@lru_cache(maxsize=64)
def reserve_sql(vendor: str, table: str, most: int, requests: int) -> str | None:
    """Return the statement for a table with the columns ``key``, ``state`` and ``version``, or ``None`` for a database without
    UPDATE … RETURNING: MySQL and MariaDB, where a turn costs two statements, and Oracle.

    Its parameters are ``key``, and ``span`` and ``patience`` in milliseconds. It returns the time of the turn and the time now, or no row
    where no turn was reserved.
    """
    words = _WORDS.get(vendor)
    if words is None:
        return None
    now, number, text = words.now, words.number, words.text
    room = most - requests + 1
    before = f"LENGTH(state) - {DIGITS * room}"
    in_window = number(f"SUBSTR(state, {before} + 1, {DIGITS})")
    at = (
        f"CASE WHEN LENGTH(state) < {HEAD} OR SUBSTR(state, 1, 1) = '{{' THEN {NEVER}"
        f" WHEN {number(f'SUBSTR(state, {DIGITS + 1}, {DIGITS})')} > {now} + {CLOCK_JITTER} THEN {NEVER}"
        f" WHEN {before} < {HEAD} THEN {words.greatest}({now}, {number(f'SUBSTR(state, 1, {DIGITS})')})"
        f" ELSE {words.greatest}({now}, {number(f'SUBSTR(state, 1, {DIGITS})')}, {in_window} + %(span)s) END"
    )
    horizon = text(f"{now} - %(span)s")
    passed = " ".join(
        f"WHEN SUBSTR(state, {HEAD + 1 + DIGITS * nth}, {DIGITS}) BETWEEN '0' AND {horizon} THEN {HEAD + 1 + DIGITS * (nth + 1)}"
        for nth in reversed(range(requests + 1))
    )
    calls = f"SUBSTR(state, CASE {passed} ELSE {HEAD + 1} END)" + f" || {text(f'({at})')}" * requests
    return (
        f"UPDATE {table} SET state = SUBSTR(state, 1, {DIGITS}) || {text(now)} || {calls}, version = version + 1"  # noqa: S608
        f" WHERE key = %(key)s AND ({at}) - {now} <= %(patience)s"
        f" RETURNING {number(f'SUBSTR(state, LENGTH(state) - {DIGITS - 1})')}, {number(f'SUBSTR(state, {DIGITS + 1}, {DIGITS})')}"
    )
