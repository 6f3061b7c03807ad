"""A process that gevent has patched: one greenlet refreshes, and another one runs an event loop, until the answer is saved.

``python -m tests.support.green_refresh HOW FILE`` starts the loop, and says so, when ``FILE`` is there.
"""

from gevent import monkey

monkey.patch_all()

import asyncio  # noqa: E402 - gevent must patch first
import sys  # noqa: E402
from collections.abc import Callable  # noqa: E402
from pathlib import Path  # noqa: E402

import django  # noqa: E402
import gevent  # noqa: E402

django.setup()

from django.core.exceptions import SynchronousOnlyOperation  # noqa: E402
from django.db import transaction  # noqa: E402

from ontraport_connect.models import OntraportAccount  # noqa: E402
from ontraport_connect.refreshing import batches, one_account  # noqa: E402


def alone() -> None:
    refreshed(lambda: one_account.refresh(OntraportAccount.objects.get()))


def inside() -> None:
    with transaction.atomic():
        account = OntraportAccount.objects.get()
        account.label = "changed"
        account.save()
        refreshed(lambda: one_account.refresh(account))


def batch() -> None:
    refreshed(lambda: print(batches.refresh_batch([*OntraportAccount.objects.values_list("pk", flat=True)])))


def refreshed(refresh: Callable[[], None]) -> None:
    """Refresh, and then wait for the end of the loop, in which Django refuses to end a transaction of this module."""
    try:
        refresh()
    finally:
        is_over.set()
        looping.join()


async def chat() -> None:
    try:
        OntraportAccount.objects.exists()
    except SynchronousOnlyOperation:
        print("The loop runs, and Django refuses others.", flush=True)
    while not is_over.is_set():  # noqa: ASYNC110  # another greenlet sets it
        await asyncio.sleep(0.01)


def loop() -> None:
    while not Path(sys.argv[2]).exists():
        gevent.sleep(0.01)
    asyncio.run(chat())


is_over = gevent.event.Event()
looping = gevent.spawn(loop)
gevent.spawn(globals()[sys.argv[1]]).get()
print("Done.", flush=True)
