"""Every way to write a secret stores ciphertext or raises."""

from __future__ import annotations

import json
from base64 import b64encode
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.core import serializers
from django.db import connection, transaction
from django.db.models import Case, CharField, F, OuterRef, Subquery, Value, When
from django.db.models.expressions import RawSQL
from django.db.models.functions import Cast, Concat

from ontraport_connect.encryption import EncryptedTextField, Sealed, Secret
from ontraport_connect.exceptions import SecretUnreadable
from ontraport_connect.models import OntraportAccount

from .rows import CANARY, column, reread

pytestmark = pytest.mark.django_db


def test_an_empty_text_is_no_secret(account: OntraportAccount) -> None:
    account.access_token = ""
    account.save()
    assert reread(account).access_token is None


@pytest.mark.parametrize("value", [7, b"bytes", ["token"], object()])
def test_only_texts_and_secrets_are_taken(account: OntraportAccount, value: object) -> None:
    with pytest.raises(TypeError, match="access_token takes a str, a Secret or None"):
        account.access_token = value


@pytest.mark.parametrize(
    "show",
    [
        str,
        repr,
        "{}".format,
        lambda secret: f" {secret}\n",
        lambda secret: str(secret.sealed),
        lambda secret: "ontraport-sealed:" + b64encode(secret.sealed).decode(),
    ],
)
def test_what_is_shown_in_place_of_a_secret_never_becomes_one(account: OntraportAccount, show: Any) -> None:
    """django-import-export writes back what it exported, which is ``str`` of each value (awx #7523)."""
    found = reread(account)
    placeholder = show(found.access_token)
    with pytest.raises(ValueError, match="is not the secret"):
        found.access_token = placeholder
    found.save()
    assert reread(account).access_token.reveal() == CANARY
    with pytest.raises(ValueError, match="is not the secret"):
        OntraportAccount(user=account.user, refresh_token=placeholder)
    found.access_token = Secret(placeholder)
    with pytest.raises(ValueError, match="is not the secret"), transaction.atomic():
        found.save()
    assert reread(account).access_token.reveal() == CANARY


def test_a_secret_given_from_one_row_to_another_is_encrypted_anew(account: OntraportAccount) -> None:
    other = OntraportAccount.objects.create(user=account.user, access_token=reread(account).access_token)
    assert reread(other).access_token.reveal() == CANARY
    assert column(other) != column(account)


def test_giving_a_row_its_own_secret_changes_nothing(account: OntraportAccount, django_assert_num_queries: Any) -> None:
    found = reread(account)
    found.access_token = found.access_token
    with django_assert_num_queries(0):
        found.save()


def test_save_writes_what_was_changed_and_nothing_else(account: OntraportAccount) -> None:
    stale, current = reread(account), reread(account)
    current.access_token, current.refresh_token = "new-access", "new-refresh"
    current.save()
    stale.label = "renamed"
    stale.save()
    found = reread(account)
    assert (found.access_token.reveal(), found.refresh_token.reveal(), found.label) == (
        "new-access",
        "new-refresh",
        "renamed",
    )


def test_bulk_create_encrypts(account: OntraportAccount) -> None:
    OntraportAccount.objects.bulk_create(
        [OntraportAccount(user=account.user, ontraport_id=str(number), access_token=CANARY) for number in range(3)]
    )
    assert [row.access_token.reveal() for row in OntraportAccount.objects.all()] == [CANARY] * 4
    assert all(CANARY.encode() not in column(row) for row in OntraportAccount.objects.all())


def test_bulk_update_keeps_what_stands_and_refuses_plain_text(account: OntraportAccount) -> None:
    found = reread(account)
    found.label = "Shop"
    OntraportAccount.objects.bulk_update([found], ["label"])
    assert (reread(account).label, reread(account).access_token.reveal()) == ("Shop", CANARY)
    with pytest.raises(TypeError, match=r"assign secrets to an instance and call save\(\)"):
        OntraportAccount.objects.bulk_update([found], ["label", "access_token"])


@pytest.mark.parametrize("value", ["plain", b"plain", Secret("plain")])
def test_update_writes_no_plain_text(account: OntraportAccount, value: object) -> None:
    with pytest.raises(TypeError, match="is encrypted for its row"), transaction.atomic():
        OntraportAccount.objects.filter(pk=account.pk).update(access_token=value)
    assert reread(account).access_token.reveal() == CANARY


@pytest.mark.parametrize(
    "expression",
    [
        Value("plain"),
        Value("plain", output_field=CharField()),
        Value(b"plain"),
        Cast(Value("plain"), CharField()),
        Concat(Value("pl"), Value("ain")),
        F("label"),
        F("refresh_token"),
        RawSQL("'plain'", []),  # the point
        Case(When(pk__gt=0, then=Value("plain")), default=None),
        Case(When(pk__gt=0, then=F("access_token")), default=F("label")),
        Subquery(get_user_model().objects.filter(pk=OuterRef("user_id")).values("username")),
    ],
    ids=str,
)
def test_update_writes_no_expression_that_is_no_ciphertext(account: OntraportAccount, expression: Any) -> None:
    """Expressions bypass the field's conversion of values. On SQLite they stored plain text, which broke every list."""
    with pytest.raises(TypeError, match="is encrypted for its row"), transaction.atomic():
        OntraportAccount.objects.filter(pk=account.pk).update(access_token=expression)
    assert reread(account).access_token.reveal() == CANARY


def test_update_takes_expressions_of_ciphertexts(account: OntraportAccount) -> None:
    """One statement may write many rows, each with the ciphertext that was made for it."""
    field: Any = OntraportAccount._meta.get_field("access_token")
    other = OntraportAccount.objects.create(user=account.user, access_token="other")
    third = OntraportAccount.objects.create(user=account.user, access_token="third")
    sealed = field.seal_for(account.uid, Secret("new"))
    OntraportAccount.objects.update(
        access_token=Case(
            When(pk=account.pk, then=Value(sealed, output_field=field)),
            When(pk=other.pk, then=Value(None, output_field=field)),
            default=Cast("access_token", field),
        )
    )
    assert reread(account).access_token.reveal() == "new"
    assert reread(other).access_token is None
    assert reread(third).access_token.reveal() == "third"


@pytest.mark.parametrize("is_sealed", [True, False])
def test_django_6_1_asks_for_the_placeholder_in_another_way(is_sealed: bool) -> None:
    field: Any = OntraportAccount._meta.get_field("access_token")
    compiler = OntraportAccount.objects.none().query.get_compiler("default")
    assert field.get_placeholder_sql(b"noise", compiler, connection) == ("%s", [b"noise"])
    if is_sealed:
        sql, (value,) = field.get_placeholder_sql(Value(Sealed(b"noise")), compiler, connection)
        assert (sql, bytes(getattr(value, "obj", value))) == ("%s", b"noise")  # psycopg wraps it
    else:
        with pytest.raises(TypeError):
            field.get_placeholder_sql(Value("plain"), compiler, connection)


@pytest.mark.sqlite
@pytest.mark.parametrize("written", ["'plain'", "''", "7", "1.5", "x'00'", "x''"])
def test_what_somebody_wrote_into_the_column_by_hand_is_unreadable_and_breaks_no_list(
    account: OntraportAccount, written: str
) -> None:
    """SQLite stores any type in any column."""
    with connection.cursor() as cursor:
        cursor.execute(f"UPDATE ontraport_connect_ontraportaccount SET access_token = {written}")  # noqa: S608
    (found,) = OntraportAccount.objects.all()
    assert str(found.access_token) == "[secret]"
    with pytest.raises(SecretUnreadable):
        found.access_token.reveal()
    assert found.refresh_token.reveal() == CANARY + "-refresh"
    found.label = "renamed"
    found.save()
    assert reread(account).label == "renamed"


def test_update_takes_what_was_sealed_for_the_row(account: OntraportAccount) -> None:
    field = OntraportAccount._meta.get_field("access_token")
    assert isinstance(field, EncryptedTextField)
    OntraportAccount.objects.filter(pk=account.pk).update(access_token=field.seal_for(account.uid, Secret("new")))
    assert reread(account).access_token.reveal() == "new"


def test_a_fixture_with_plain_text_is_refused(account: OntraportAccount) -> None:
    rows = json.loads(serializers.serialize("json", [account]))
    rows[0]["fields"]["access_token"] = "plain"
    (item,) = serializers.deserialize("json", json.dumps(rows))
    with pytest.raises(TypeError, match="is encrypted for its row"), transaction.atomic():
        item.save()
