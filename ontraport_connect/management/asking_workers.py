"""Ask the Celery workers whether they are there, and the broker how much waits for them"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from celery import current_app
from kombu.exceptions import OperationalError

from ontraport_connect import tasks
from ontraport_connect.staff import TASK, QueueState, time_limit

WITH_CONTROL = frozenset({"amqp", "redis"})
"""The kinds of brokers over which Celery's workers can be asked (Celery, "Backends and Brokers": remote control)."""

ANSWER = 1.0
"""Seconds in which a worker has to answer."""

CONNECT = 2.0
"""Seconds in which the broker has to accept a connection."""

LONGEST = 10.0
"""Seconds after which the broker is taken not to answer, whatever it is doing."""


def ask_workers() -> QueueState | None:
    """Return what the broker and the workers of the current Celery app say, in a few seconds.

    ``None`` when they cannot be asked: no broker is configured in this process or its client is not installed, the broker has no control
    channel, or the workers have it switched off (``worker_enable_remote_control``). Raises nothing: what a client says of a broker that
    does not answer may hold its password.
    """
    app: Any = current_app
    try:
        if not (app.conf.broker_write_url or app.conf.broker_url) or not app.conf.worker_enable_remote_control:
            return None
        timeouts = {"socket_connect_timeout": CONNECT, "socket_timeout": CONNECT + ANSWER}
        connection = app.connection_for_write(
            connect_timeout=CONNECT, transport_options={**app.conf.broker_transport_options, **timeouts}
        )
        if connection.transport.driver_type not in WITH_CONTROL:
            return None
    except Exception:  # noqa: BLE001  # a setting that Celery or a client cannot read, in words of their own
        return None
    try:
        with time_limit(LONGEST), connection:
            connection.ensure_connection(max_retries=1, interval_start=0.1, timeout=CONNECT)
            return _ask(app, connection)
    except (OSError, OperationalError, *connection.connection_errors, *connection.channel_errors):
        return QueueState(is_broker_there=False)
    except Exception:  # noqa: BLE001  # a router or a schedule of the site, in words of their own
        return None


def _ask(app: Any, connection: Any) -> QueueState:
    inspect = app.control.inspect(timeout=ANSWER, connection=connection)
    known: Mapping[str, Any] = inspect.registered() or {}
    able = [name for name, names in known.items() if any(each.split()[:1] == [TASK] for each in names)]
    fetched: Mapping[str, Any] = (inspect.reserved() or {}) if able else {}
    waiting = sum(len(fetched.get(name, ())) for name in able)
    for name in sorted(set(_queues(app))):
        waiting += _length(connection, name)
    return QueueState(answering=len(known), able=len(able), waiting=waiting)


def _queues(app: Any) -> Iterator[str]:
    """Yield the names of the queues that this app's tasks are sent to."""
    ours = [name for name in app.tasks if name.startswith(f"{tasks.__name__}.")]
    for name in ours:
        queue = app.amqp.router.route({}, name).get("queue", app.conf.task_default_queue)
        yield getattr(queue, "name", queue)
    for entry in app.conf.beat_schedule.values():
        if entry["task"] == TASK and "queue" in entry.get("options", {}):
            yield str(entry["options"]["queue"])


def _length(connection: Any, name: str) -> int:
    """Return how many tasks wait in a queue. One that nothing was sent to yet, nobody knows."""
    try:
        with connection.channel() as channel:
            return int(channel.queue_declare(queue=name, passive=True).message_count)
    except connection.channel_errors:
        return 0
