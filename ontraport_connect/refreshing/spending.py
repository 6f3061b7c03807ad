"""The one place that spends a refresh token: the call, and the save of what came for it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from typing import Any, TypeVar

from ontraport_connect import monitoring
from ontraport_connect.database import DATABASE_IS_AWAY, in_transaction, short_lock_waits, while_waiting
from ontraport_connect.exceptions import OntraportError, OntraportUnavailable, ReconnectRequired
from ontraport_connect.models import Status
from ontraport_connect.monitoring import logger
from ontraport_connect.protocol import Transport

from . import client_settings, grants, leases, outcomes, spent_tokens
from .claiming import Seen
from .interruptions import renew_connection
from .leases import SEND_WITHIN, Lease
from .outcomes import Outcome
from .process_end import process_stays

T = TypeVar("T")


def call(lease: Lease, transport: Transport) -> Outcome:
    """Send the one request that spends the refresh token. Touches no database, so that a pool of threads can do it.

    What could keep the new tokens from being saved is found out before: once they are here they exist nowhere else.
    """
    refresh_token = lease.account.refresh_token
    if refresh_token is None:
        return ReconnectRequired(
            "Ontraport gave no refresh token for this link, and its access token ends.", code="no_refresh_token"
        )
    try:
        grants.require_storable(lease.account)
        refresh_token.reveal()
        client = client_settings.oauth_client(lease.account.client_id, lease.account.issuer)
    except OntraportError as error:
        return error
    except Exception as error:  # settings may be objects of the site that compute something
        if isinstance(error, MemoryError):
            raise
        return grants.unusable(error)
    if lease.age() > SEND_WITHIN:
        return OntraportUnavailable("The lease was too old to send the request.", code=outcomes.LATE)
    try:
        return client.refresh(transport, refresh_token)
    except OntraportError as error:
        return error


@contextmanager
def unsent_given_back(pk: int) -> Iterator[tuple[str, Future[Outcome]]]:
    """Give back the lease that this block takes on a row, and forget its note on the token, where it is interrupted before anything was
    sent. Yields the owner to claim for, and the future of the call: both are known before what they are for can be interrupted.
    """
    owner, future = leases.new_owner(), Future[Outcome]()
    is_inside = in_transaction()
    try:
        yield owner, future
    except (OntraportError, *DATABASE_IS_AWAY):
        raise
    except BaseException:
        if future.cancel():
            if not is_inside:
                renew_connection()
            _give_back(pk, owner)
        raise


def _give_back(pk: int, owner: str) -> None:
    """What fails here ends by itself."""
    with suppress(Exception):
        leases.give_back({pk: owner})
    with suppress(Exception):
        spent_tokens.forget_unsent(owner)


def spend(lease: Lease, future: Future[Outcome]) -> Seen | None:
    """Call in a thread of its own: a caller who is interrupted meanwhile (Ctrl-C, a soft time limit) saves what comes all the same."""
    is_inside = in_transaction()
    with ExitStack() as stack:
        try:
            transport = stack.enter_context(client_settings.new_transport())
        except BaseException:
            _give_back(lease.account.pk, lease.owner)
            raise
        try:
            stack.enter_context(process_stays())
            thread = stack.enter_context(ThreadPoolExecutor(1, thread_name_prefix="ontraport-call"))
            thread.submit(monitoring.carried(_run), future, lease, transport)
            with while_waiting():
                outcome = future.result()
            current = _settle(lease, outcome)
        except DATABASE_IS_AWAY:
            raise
        except BaseException as error:
            if not future.cancel():
                if not is_inside:
                    renew_connection()
                _settle_once_more(lease, future)
            elif isinstance(error, RuntimeError):  # no thread is left, or the process is ending
                _give_back(lease.account.pk, lease.owner)
                raise OntraportUnavailable("No thread could be started.", code="no_thread", retry_after=5.0) from None
            raise
    if current is None:
        return None
    is_anothers = current.version != lease.account.version and current.status == Status.CONNECTED
    return Seen(account=current, error=outcome if isinstance(outcome, OntraportError) and not is_anothers else None)


def _run(future: Future[Outcome], lease: Lease, transport: Transport) -> None:
    """Runs in a thread."""
    if not future.set_running_or_notify_cancel():
        return
    try:
        future.set_result(call(lease, transport))
    except BaseException as error:  # noqa: BLE001  # who waits for it learns of it
        future.set_exception(error)


def first_ended(
    futures: Iterable[Future[T]], note: Callable[[BaseException], object] = lambda interruption: None
) -> list[Future[T]]:
    """Wait until one of these calls has ended, however often that is interrupted, and return those that have. They are bounded in time, and
    what came for them exists nowhere else. What interrupts is given to ``note``: the caller raises it, or what led here, when all is saved.
    """
    while True:
        try:
            with while_waiting():
                return list(wait(futures, return_when=FIRST_COMPLETED).done)
        except BaseException as interruption:  # noqa: BLE001  # see above
            note(interruption)


def _settle_once_more(lease: Lease, future: Future[Outcome]) -> None:
    """Save what came, after what was raised meanwhile, which the caller raises again."""
    first_ended([future])
    try:
        _settle(lease, future.result(), read=False)
    except Exception:  # noqa: BLE001  # code of the site runs with each statement, and may raise anything
        logger.exception("The outcome of refreshing account %s could not be saved.", lease.account.uid)


def _settle(lease: Lease, outcome: Outcome, *, read: bool = True) -> Any:
    """Save without waiting long for a row that somebody else holds."""

    def settle() -> Any:
        with nullcontext() if in_transaction() else short_lock_waits():
            return outcomes.settle(lease, outcome, read=read)

    return outcomes.settle_whatever_happens(lease, outcome, settle)
