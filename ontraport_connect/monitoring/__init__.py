"""What monitoring sees of the app at work: one log event a refresh, Prometheus metrics, OpenTelemetry spans.

The engine calls these functions and knows neither Prometheus nor OpenTelemetry. None of them raises, and none is given a secret.
"""

from .afterwards import tell, told_afterwards
from .events import calling, refresh_ended, turn_refused, turn_reserved
from .prometheus import Gauge, is_prometheus_installed, metrics_text
from .quiet_log import logger
from .spans import carried, span

__all__ = [
    "Gauge",
    "calling",
    "carried",
    "is_prometheus_installed",
    "logger",
    "metrics_text",
    "refresh_ended",
    "span",
    "tell",
    "told_afterwards",
    "turn_refused",
    "turn_reserved",
]
