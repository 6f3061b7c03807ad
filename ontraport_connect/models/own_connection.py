"""A connection beside the caller's, where each statement commits by itself"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from contextvars import copy_context
from typing import TypeVar

from django.db import connections

from .chosen_database import alias, one_database
from .one_connection import while_waiting

T = TypeVar("T")


def on_new_connection(step: Callable[[], T]) -> T:
    """Run ``step`` in a thread of its own, where each of its statements commits by itself, and to its end even when the caller is
    interrupted. Raises ``RuntimeError`` where no thread can be started. Works while the process is ending, too, which an executor does not.
    """
    future: Future[T] = Future()
    with one_database():
        thread = threading.Thread(
            target=copy_context().run, args=(_answer, future, step), name="ontraport-own", daemon=False
        )
        thread.start()
        with while_waiting():
            try:
                return future.result()
            finally:
                thread.join()


def _answer(future: Future[T], step: Callable[[], T]) -> None:
    try:
        future.set_result(_run_and_close(step))
    except BaseException as error:  # noqa: BLE001  # who waits for it learns of it
        future.set_exception(error)


@one_database()  # a thread may be a greenlet
def _run_and_close(step: Callable[[], T]) -> T:
    connection = connections[alias()]
    connection.settings_dict = {**connection.settings_dict, "AUTOCOMMIT": True}  # the site may have it off
    try:
        connection.ensure_connection()
        return step()
    finally:
        connections.close_all()


@contextmanager
def autocommitting() -> Iterator[None]:
    """Within this block each statement commits by itself, on a site that has ``AUTOCOMMIT`` off, too: nobody else would commit what a
    background job writes. It has a connection of its own then. Inside ``atomic()`` nothing changes.
    """
    using = alias()
    callers = connections[using]
    if callers.in_atomic_block or callers.settings_dict["AUTOCOMMIT"]:
        yield
        return
    own = callers.copy()
    own.settings_dict["AUTOCOMMIT"] = True
    connections[using] = own
    try:
        yield
    finally:
        connections[using] = callers
        own.close()
