"""Prometheus metrics, where prometheus_client is installed (extra ``prometheus``)"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

SECONDS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)

try:
    import prometheus_client
    from prometheus_client import metrics_core, multiprocess
    from prometheus_client.registry import Collector
except ImportError:
    is_installed = False
else:
    is_installed = True
    refreshes = prometheus_client.Counter(
        "ontraport_connect_refreshes", "Refreshes, by what came out (refreshed, or the code of an error).", ["result"]
    )
    refresh_seconds = prometheus_client.Histogram(
        "ontraport_connect_refresh_seconds", "Time from the claim of a row to the saved answer.", buckets=SECONDS
    )
    calls = prometheus_client.Counter(
        "ontraport_connect_calls", "Calls to Ontraport, by API (rest, mcp) and result.", ["api", "result"]
    )
    call_seconds = prometheus_client.Histogram(
        "ontraport_connect_call_seconds", "Time that a call took, with all its waits.", ["api"], buckets=SECONDS
    )
    turns = prometheus_client.Counter(
        "ontraport_connect_limiter_turns", "Calls at the rate limiter: at_once, waited, refused.", ["result"]
    )
    wait_seconds = prometheus_client.Histogram(
        "ontraport_connect_limiter_wait_seconds", "Time that calls waited for the rate limiter.", buckets=SECONDS
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Gauge:
    """Numbers that are read when they are asked for. ``samples`` has a value for each combination of the values of ``labels``."""

    name: str
    help: str
    samples: Mapping[tuple[str, ...], float]
    labels: Sequence[str] = ()


def is_prometheus_installed() -> bool:
    return is_installed


def count_refresh(result: str, seconds: float) -> None:
    if is_installed:
        refreshes.labels(result).inc()
        refresh_seconds.observe(seconds)


def count_call(api: str, result: str, seconds: float) -> None:
    if is_installed:
        calls.labels(api, result).inc()
        call_seconds.labels(api).observe(seconds)


def count_turn(result: str, wait: float | None) -> None:
    if is_installed:
        turns.labels(result).inc()
        if wait is not None:
            wait_seconds.observe(wait)


def metrics_text(gauges: Iterable[Gauge]) -> tuple[bytes, str]:
    """Return the metrics in Prometheus' text format, and its content type. Requires ``is_prometheus_installed``.

    Counters are those of this process, or, where ``PROMETHEUS_MULTIPROC_DIR`` is set, of all processes that share the directory.
    """
    counters = prometheus_client.REGISTRY
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        counters = prometheus_client.CollectorRegistry()
        multiprocess.MultiProcessCollector(counters)  # type: ignore[no-untyped-call]
    own = prometheus_client.CollectorRegistry()
    own.register(_collector(gauges))
    text = prometheus_client.generate_latest(counters) + prometheus_client.generate_latest(own)
    return text, prometheus_client.CONTENT_TYPE_PLAIN_0_0_4


def _collector(gauges: Iterable[Gauge]) -> Any:
    class Gauges(Collector):
        def collect(self) -> Iterator[Any]:
            for gauge in gauges:
                family = metrics_core.GaugeMetricFamily(gauge.name, gauge.help, labels=gauge.labels)
                for values, number in gauge.samples.items():
                    family.add_metric(values, number)
                yield family

    return Gauges()
