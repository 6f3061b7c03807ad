"""Key pairs are checked once a day; one that is refused is condemned only when REST refuses it again and again."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.db.models import F
from django.test import override_settings
from django.utils import timezone

from ontraport_connect import tasks
from ontraport_connect.exceptions import OntraportError, OntraportUnavailable, ReconnectRequired
from ontraport_connect.linking import key_checks
from ontraport_connect.models import EventKind, OntraportAccount, OntraportEvent, Status
from ontraport_connect.signals import account_needs_reconnect, account_recovered
from ontraport_connect.staff import notices
from tests.linking.test_key_pairs import link
from tests.refreshing.test_one_account import in_thread
from tests.refreshing.test_takeover import ROW, locked
from tests.support import ontraport
from tests.support.answering import Answering, Asked, Reply, envelope
from tests.support.linked import key_account, person
from tests.support.servers import Sandbox, free_port

pytestmark = pytest.mark.django_db(transaction=True)

REFUSED = Reply(status=401, body=b"Your App ID and API Key do not authenticate.")


@pytest.fixture(autouse=True)
def configured(sandbox: Sandbox) -> Iterator[None]:
    with override_settings(**ontraport.settings_for(sandbox.url)):
        yield


@pytest.fixture
def maya() -> Any:
    return person("maya")


@pytest.fixture
def heard() -> Iterator[list[str]]:
    """The signals that were sent."""
    names: list[str] = []
    signals = {"needs_reconnect": account_needs_reconnect, "recovered": account_recovered}
    listeners = {name: (lambda name=name, **kwargs: names.append(name)) for name in signals}
    for name, signal in signals.items():
        signal.connect(listeners[name])
    yield names
    for name, signal in signals.items():
        signal.disconnect(listeners[name])


class Rest(Answering):
    """A REST API that accepts every key pair, or refuses every one."""

    def __init__(self) -> None:
        self.is_refusing = True
        super().__init__(self.answer)

    def answer(self, asked: Asked) -> Reply:
        return REFUSED if self.is_refusing else envelope({})


@pytest.fixture
def rest() -> Iterator[Rest]:
    with Rest() as server, override_settings(ONTRAPORT_REST_URL=f"{server.url}/1/"):
        yield server


def seconds_to_the_next_check(account: OntraportAccount) -> float:
    return hours_to_the_next_check(account) * 3600


def check_again(account: OntraportAccount) -> dict[str, int]:
    """Let the time come, and run the task."""
    make_due(account)
    return tasks.check_keys()


def use(account: OntraportAccount) -> None:
    OntraportAccount.objects.get(pk=account.pk).rest("GET", "objects", params={"objectID": 0})


def hours_to_the_next_check(account: OntraportAccount) -> float:
    account.refresh_from_db()
    assert account.refresh_at is not None
    return (account.refresh_at - timezone.now()).total_seconds() / 3600


def make_due(account: OntraportAccount) -> None:
    OntraportAccount.objects.filter(pk=account.pk).update(refresh_at=timezone.now() - timedelta(minutes=1))


def test_a_pair_is_checked_once_a_day(maya: Any, sandbox: Sandbox) -> None:
    account = link(maya)
    assert 21 < hours_to_the_next_check(account) <= 24
    assert tasks.check_keys() == {}
    make_due(account)
    assert tasks.check_keys() == {"accepted": 1}
    assert 21 < hours_to_the_next_check(account) <= 24
    assert account.refreshed_at is not None
    assert tasks.check_keys() == {}
    assert sandbox.state()["counts"]["rest"] == 2


@pytest.mark.parametrize(
    ("reply", "counted", "checked_again_within_hours"),
    [
        (Reply(status=403), {"accepted": 1}, 24),
        (Reply(status=422), {"http_422": 1}, 1),
        (Reply(status=500), {"http_500": 1}, 1),
        (Reply(status=429, headers={"X-Rate-Limit-Reset": "30"}), {"rate_limited": 1}, 1),
    ],
)
def test_what_a_check_finds(maya: Any, reply: Reply, counted: Any, checked_again_within_hours: int) -> None:
    account = link(maya)
    make_due(account)
    with Answering(lambda asked: reply) as server, override_settings(ONTRAPORT_REST_URL=f"{server.url}/1/"):
        assert key_checks.check_key_pairs(10) == counted
    assert checked_again_within_hours * 0.89 < hours_to_the_next_check(account) <= checked_again_within_hours
    assert account.status == Status.CONNECTED


def test_a_round_of_checks_ends_when_ontraport_is_away(maya: Any) -> None:
    for name in ("first", "second", "third"):
        make_due(key_account(maya, ontraport_id=name))
    with override_settings(ONTRAPORT_REST_URL=f"http://127.0.0.1:{free_port()}/1/"):
        assert key_checks.check_key_pairs(10) == {"connection": 1}


def test_a_round_of_checks_goes_on_past_what_concerns_one_account(maya: Any) -> None:
    unreadable = key_account(maya, ontraport_id="first")
    OntraportAccount.objects.filter(pk=unreadable.pk).update(uid="00000000-0000-4000-8000-000000000000")
    for account in (unreadable, key_account(maya)):
        make_due(account)
    assert key_checks.check_key_pairs(10) == {"secret_unreadable": 1, "accepted": 1}


def test_no_pair_is_checked_by_two_at_once(maya: Any) -> None:
    for name in ("first", "second"):
        make_due(key_account(maya, ontraport_id=name))
    one, other = key_checks._due(10), key_checks._due(10)
    assert next(one).ontraport_id == "first"
    assert next(other).ontraport_id == "second"
    assert (list(one), list(other)) == ([], [])


@pytest.mark.server_database
def test_a_row_that_somebody_holds_is_passed_over(maya: Any, rest: Rest) -> None:
    held, other = key_account(maya, ontraport_id="1"), key_account(maya, ontraport_id="2")
    make_due(held)
    make_due(other)
    with locked(ROW, held.pk), in_thread(tasks.check_keys) as checked:
        assert checked.result(20) == {"key_refused": 1}
    assert seconds_to_the_next_check(held) < 0 < seconds_to_the_next_check(other)


def test_the_pairs_of_people_who_were_deactivated_are_not_checked(maya: Any) -> None:
    make_due(link(maya))
    maya.is_active = False
    maya.save()
    assert key_checks.check_key_pairs(10) == {}


def test_a_check_returns_what_was_in_the_way(maya: Any) -> None:
    account = link(maya)
    assert key_checks.check_key_pair(account) is None
    account.access_token = "revoked-in-ontraport"
    account.save()
    error = key_checks.check_key_pair(account)
    assert isinstance(error, OntraportError)
    assert error.code == "key_refused"


def test_one_401_leaves_the_account_connected_and_makes_a_check_due(maya: Any, rest: Rest, heard: list[str]) -> None:
    account = key_account(maya, refresh_at=timezone.now() + timedelta(hours=20))
    with pytest.raises(OntraportUnavailable) as raised:
        account.rest("GET", "objects", params={"objectID": 0})
    assert (raised.value.code, raised.value.retry_after) == ("key_refused", 60)
    assert (account.status, account.last_error) == (Status.CONNECTED, "key_refused")
    assert seconds_to_the_next_check(account) <= 0
    rest.is_refusing = False
    assert tasks.check_keys() == {"accepted": 1}
    account.refresh_from_db()
    assert (account.status, account.last_error, account.failures) == (Status.CONNECTED, "", 0)
    assert not OntraportEvent.objects.exists()
    assert heard == []


def test_a_minute_of_401s_marks_nobody(maya: Any, rest: Rest) -> None:
    accounts = [key_account(maya, ontraport_id=str(number)) for number in range(20)]
    for account in accounts:
        make_due(account)
    assert tasks.check_keys() == {"key_refused": 20}
    for account in accounts:
        with pytest.raises(OntraportUnavailable):
            use(account)
    assert tasks.check_keys() == {}
    rest.is_refusing = False
    OntraportAccount.objects.update(refresh_at=timezone.now() - timedelta(seconds=1))
    assert tasks.check_keys() == {"accepted": 20}
    assert set(OntraportAccount.objects.values_list("status", "failures")) == {(Status.CONNECTED, 0)}


def test_a_revoked_key_is_marked_after_three_refusals_minutes_apart(maya: Any, rest: Rest, heard: list[str]) -> None:
    account = key_account(maya)
    for number in range(1, key_checks.CONFIRMATIONS):
        assert check_again(account) == {"key_refused": 1}
        account.refresh_from_db()
        assert (account.status, account.failures) == (Status.CONNECTED, number)
        assert 110 < seconds_to_the_next_check(account) <= key_checks.CONFIRM_AFTER
        with pytest.raises(OntraportUnavailable):
            use(account)
        assert seconds_to_the_next_check(account) > 110, "a call brings no check forward"
    assert heard == []
    assert check_again(account) == {"key_refused": 1}
    account.refresh_from_db()
    assert (account.status, account.last_error) == (Status.NEEDS_RECONNECT, "key_refused")
    assert heard == ["needs_reconnect"]
    assert [(event.kind, event.detail) for event in OntraportEvent.objects.all()] == [
        ("needs_reconnect", "key_refused")
    ]
    with pytest.raises(ReconnectRequired):
        use(account)


def test_refusals_count_only_in_a_row(maya: Any, rest: Rest) -> None:
    account = key_account(maya)
    for _ in range(2):
        check_again(account)
    rest.is_refusing = False
    assert check_again(account) == {"accepted": 1}
    rest.is_refusing = True
    check_again(account)
    account.refresh_from_db()
    assert (account.status, account.failures) == (Status.CONNECTED, 1)


def marked(user: Any, **values: Any) -> OntraportAccount:
    return key_account(
        user,
        **{"status": Status.NEEDS_RECONNECT, "last_error": "key_refused", "failures": 3, "refresh_at": None, **values},
    )


def test_a_marked_pair_is_tried_soon_then_ever_more_rarely_and_recovers_by_itself(
    maya: Any, rest: Rest, heard: list[str]
) -> None:
    account = marked(maya, notified_at=timezone.now(), failures=2, status=Status.CONNECTED)
    hours = []
    for _ in range(7):
        assert check_again(account) == {"key_refused": 1}
        hours.append(hours_to_the_next_check(account))
    for found, expected in zip(hours, [1 / 15, 1 / 6, 1 / 2, 2, 6, 24, 24], strict=True):
        assert 0.89 * expected < found <= expected
    assert (account.status, account.failures, heard) == (Status.NEEDS_RECONNECT, 9, ["needs_reconnect"])
    rest.is_refusing = False
    assert check_again(account) == {"accepted": 1}
    assert 21 < hours_to_the_next_check(account) <= 24
    assert (account.status, account.last_error, account.failures) == (Status.CONNECTED, "", 0)
    assert (account.notified_at, heard) == (None, ["needs_reconnect", "recovered"])
    assert [event.kind for event in OntraportEvent.objects.all()] == [EventKind.RECOVERED, EventKind.NEEDS_RECONNECT]
    use(account)


def pass_time(minutes: float) -> None:
    """Let beat run once a minute, for so long."""
    for _ in range(round(minutes)):
        OntraportAccount.objects.update(refresh_at=F("refresh_at") - timedelta(minutes=1))
        OntraportAccount.objects.update(refreshed_at=F("refreshed_at") - timedelta(minutes=1))
        tasks.check_keys()


def test_five_minutes_of_401s_end_no_pair_for_longer_than_minutes(maya: Any, rest: Rest) -> None:
    """All that were used meanwhile were out for a day, long after Ontraport was well again, and their people got an e-mail."""
    refreshed_at, refresh_at = timezone.now() - timedelta(hours=12), timezone.now() + timedelta(hours=12)
    for number in range(10):
        account = key_account(maya, ontraport_id=str(number), refreshed_at=refreshed_at, refresh_at=refresh_at)
        with pytest.raises(OntraportUnavailable):
            use(account)
    pass_time(minutes=5)
    assert OntraportAccount.objects.filter(status=Status.NEEDS_RECONNECT).count() == 10
    rest.is_refusing = False
    pass_time(minutes=notices.GRACE.total_seconds() / 60)
    for account in OntraportAccount.objects.all():
        use(account)


def test_a_key_that_was_revoked_is_hardly_ever_asked_for(maya: Any, rest: Rest) -> None:
    marked(maya, refresh_at=timezone.now())
    pass_time(minutes=24 * 60)
    assert len(rest.asked) <= 7


def test_an_account_that_was_marked_for_another_reason_does_not_recover(maya: Any, rest: Rest) -> None:
    rest.is_refusing = False
    account = marked(maya, last_error="no_credentials")
    assert check_again(account) == {"accepted": 1}
    account.refresh_from_db()
    assert account.status == Status.NEEDS_RECONNECT


def test_a_pair_that_was_replaced_during_its_check_is_neither_marked_nor_counted(maya: Any, rest: Rest) -> None:
    for values in ({"failures": 1}, {"failures": 2}, {"failures": 3, "status": Status.NEEDS_RECONNECT}):
        account = key_account(maya, ontraport_id=str(values["failures"]), last_error="key_refused", **values)
        OntraportAccount.objects.filter(pk=account.pk).update(status=Status.CONNECTED, failures=0, version=7)
        key_checks._count_refusal(account)
        account.refresh_from_db()
        assert (account.status, account.failures, account.refresh_at) == (Status.CONNECTED, 0, None)


def test_what_the_mcp_server_refuses_and_rest_accepts_is_not_marked(maya: Any, rest: Rest) -> None:
    """Nor checked more often than every two minutes, however often it is used."""
    rest.is_refusing = False
    account = link(maya)
    with Answering(lambda asked: REFUSED) as server, override_settings(ONTRAPORT_MCP_URL=f"{server.url}/"):
        for number in range(5):
            with pytest.raises(OntraportUnavailable) as raised:
                OntraportAccount.objects.get().mcp("get_objects")
            assert raised.value.code == "key_refused"
            assert tasks.check_keys() == ({} if number else {"accepted": 1})
    account.refresh_from_db()
    assert (account.status, account.last_error, account.failures) == (Status.CONNECTED, "", 0)


def test_a_customer_who_enters_a_key_is_connected_at_once(maya: Any, rest: Rest) -> None:
    account = marked(maya, refresh_at=timezone.now() + timedelta(hours=20))
    rest.is_refusing = False
    assert link(maya, account=account).is_connected
    use(account)


def test_a_run_of_checks_is_bounded_in_time(maya: Any, rest: Rest) -> None:
    for name in ("first", "second"):
        make_due(key_account(maya, ontraport_id=name))
    assert key_checks.check_key_pairs(10, seconds=0) == {"key_refused": 1}
    assert len(rest.asked) == 1


def test_a_suspected_pair_that_could_not_be_checked_is_checked_again_soon(maya: Any) -> None:
    account = key_account(maya, last_error="key_refused")
    with override_settings(ONTRAPORT_REST_URL=f"http://127.0.0.1:{free_port()}/1/"):
        assert check_again(account) == {"connection": 1}
    assert 110 < seconds_to_the_next_check(account) <= key_checks.CONFIRM_AFTER
    assert account.failures == 0


def test_a_marked_pair_that_could_not_be_checked_is_checked_again_within_the_hour(maya: Any) -> None:
    account = marked(maya)
    with override_settings(ONTRAPORT_REST_URL=f"http://127.0.0.1:{free_port()}/1/"):
        assert check_again(account) == {"connection": 1}
        assert 200 < seconds_to_the_next_check(account) <= key_checks.CHECKS_OF_MARKED[0]
        OntraportAccount.objects.update(failures=30)
        assert check_again(account) == {"connection": 1}
        assert 3500 < seconds_to_the_next_check(account) <= key_checks.RETRY_AFTER
