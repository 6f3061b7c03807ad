"""OpenTelemetry spans, where its API is installed"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
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
    with _started(name, attributes) as current:
        try:
            yield
        except BaseException as error:
            with suppress(Exception):
                current.set_attribute("error.type", result_of(error))
                current.set_status(trace.StatusCode.ERROR)
            raise


@contextmanager
def _started(name: str, attributes: Mapping[str, str]) -> Iterator[Any]:
    """Start a span, and end it. What a sampler, a processor or an exporter of the site raises has no other effect: within a span, Ontraport
    may have answered with tokens that exist nowhere else.
    """
    with ExitStack() as stack:
        current: Any = trace.INVALID_SPAN
        with suppress(Exception):
            manager = trace.get_tracer(NAME).start_as_current_span(
                name,
                kind=trace.SpanKind.CLIENT,
                attributes={key.replace("_", "."): value for key, value in attributes.items()},
                record_exception=False,
                set_status_on_exception=False,
            )
            current = manager.__enter__()
            stack.callback(_end, manager)
        yield current


def _end(manager: Any) -> None:
    with suppress(Exception):
        manager.__exit__(None, None, None)


def carried(function: Callable[P, T]) -> Callable[P, T]:
    """Return ``function`` for another thread, where its spans belong to the caller's trace."""
    return partial(_attached, otel_context.get_current(), function) if is_installed else function


def _attached(context: Any, function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
    token = otel_context.attach(context)
    try:
        return function(*args, **kwargs)
    finally:
        with suppress(Exception):
            otel_context.detach(token)


def result_of(error: BaseException) -> str:
    """Return the code of an error of ours, or else the name of its class."""
    return error.code if isinstance(error, OntraportError) else type(error).__name__
