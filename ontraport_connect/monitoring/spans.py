"""OpenTelemetry spans, where its API is installed"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, ParamSpec, TypeVar

from ontraport_connect.exceptions import OntraportError

try:
    from opentelemetry import context as otel_context
    from opentelemetry import trace
except ImportError:
    is_installed = False
else:
    is_installed = True

P = ParamSpec("P")
T = TypeVar("T")

NAME = "ontraport_connect"


@contextmanager
def span(name: str, **attributes: str) -> Iterator[None]:
    """Make a client span of this block. ``_`` in the name of an attribute stands for a dot.

    An exception leaves its code in ``error.type``, and neither its message nor a traceback.
    """
    if not is_installed or isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
        yield  # the site has not set OpenTelemetry up: nobody would see the span
        return
    with trace.get_tracer(NAME).start_as_current_span(
        name,
        kind=trace.SpanKind.CLIENT,
        attributes={key.replace("_", "."): value for key, value in attributes.items()},
        record_exception=False,
        set_status_on_exception=False,
    ) as current:
        try:
            yield
        except BaseException as error:
            current.set_attribute("error.type", result_of(error))
            current.set_status(trace.StatusCode.ERROR)
            raise


def carried(function: Callable[P, T]) -> Callable[P, T]:
    """Return ``function`` for another thread, where its spans belong to the caller's trace."""
    return partial(_attached, otel_context.get_current(), function) if is_installed else function


def _attached(context: Any, function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
    token = otel_context.attach(context)
    try:
        return function(*args, **kwargs)
    finally:
        otel_context.detach(token)


def result_of(error: BaseException) -> str:
    """Return the code of an error of ours, or else the name of its class."""
    return error.code if isinstance(error, OntraportError) else type(error).__name__
