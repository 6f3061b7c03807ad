"""Stored secrets are encrypted, bound to their row and column, and readable with the right key only."""

from __future__ import annotations

import json
import pickle
import uuid
from base64 import b64decode
from itertools import product
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.core import serializers
from django.core.exceptions import FieldError
from django.core.management import call_command
from django.db import transaction
from django.forms.models import model_to_dict
from django.test import override_settings
from hypothesis import given, settings
from hypothesis import strategies as st

from ontraport_connect.encryption import EncryptedTextField, Secret, StoredSecret, current_key_id, seal, unseal
from ontraport_connect.exceptions import OntraportMisconfigured, SecretUnreadable
from ontraport_connect.models import OntraportAccount, OntraportRevocation

from .rows import CANARY, COLUMNS, FIRST, SECOND, THIRD, column, reread, write

pytestmark = pytest.mark.django_db


def test_a_token_is_a_text_again_for_whoever_asks_and_noise_in_the_column(account: OntraportAccount) -> None:
    assert reread(account).access_token.reveal() == CANARY
    assert CANARY.encode() not in column(account)
    assert account.access_token.reveal() == CANARY


def test_the_column_holds_no_pickle(account: OntraportAccount) -> None:
    with pytest.raises((pickle.UnpicklingError, EOFError, ValueError, KeyError, IndexError, AttributeError)):
        pickle.loads(column(account)[1:])  # noqa: S301
    assert column(account)[:1] == b"\x01"


def test_the_same_text_is_other_noise_each_time(account: OntraportAccount) -> None:
    assert len({bytes(seal(Secret(CANARY), "row")) for _ in range(100)}) == 100


@pytest.mark.parametrize("text", ["", "a", "ü" * 100, "\0", "\ud800", "a" * 100_000])
def test_any_text_comes_back(text: str) -> None:
    assert unseal(seal(Secret(text), "row"), "row") == text


@given(st.text(max_size=50), st.text(max_size=20), st.text(max_size=20))
@settings(max_examples=100, deadline=None)
def test_what_is_sealed_for_one_context_opens_in_no_other(text: str, one: str, other: str) -> None:
    context, another = one.encode(errors="replace").decode(), other.encode(errors="replace").decode()
    sealed = seal(Secret(text), context)
    assert unseal(sealed, context) == text
    if context != another:
        with pytest.raises(SecretUnreadable):
            unseal(sealed, another)


def test_of_100_rows_with_2_columns_each_no_ciphertext_is_accepted_in_another_place() -> None:
    user = get_user_model().objects.create_user("maya")
    field: dict[str, Any] = {name: OntraportAccount._meta.get_field(name) for name in COLUMNS}
    accounts = [OntraportAccount(user=user, ontraport_id=str(number)) for number in range(100)]
    cells = [(field[name].context(account), account, name) for account, name in product(accounts, COLUMNS)]
    sealed = [seal(Secret(CANARY), context) for context, _, _ in cells]
    accepted = []
    for (place, (context, account, name)), (origin, value) in product(enumerate(cells), enumerate(sealed)):
        account.__dict__[name] = value
        try:
            getattr(account, name).reveal()
        except SecretUnreadable:
            continue
        accepted.append((place, origin))
        assert context == cells[origin][0]
    assert accepted == [(place, place) for place in range(200)]


def test_a_row_swapped_in_the_database_is_refused_and_breaks_no_list(account: OntraportAccount) -> None:
    other = OntraportAccount.objects.create(user=account.user, access_token="other", refresh_token="other")
    write(account, column(other))
    write(other, column(other), "refresh_token")
    rows = list(OntraportAccount.objects.order_by("pk"))
    assert [str(row) for row in rows] == ["Ontraport", "Ontraport"]
    for secret in (rows[0].access_token, rows[1].refresh_token):
        with pytest.raises(SecretUnreadable):
            secret.reveal()
    assert rows[1].access_token.reveal() == "other"


def test_a_row_with_anothers_handle_is_refused(account: OntraportAccount) -> None:
    OntraportAccount.objects.filter(pk=account.pk).update(uid=uuid.uuid4())
    with pytest.raises(SecretUnreadable):
        reread(account).access_token.reveal()


def test_no_flipped_bit_is_accepted() -> None:
    sealed = seal(Secret(CANARY), "row")
    for position in range(len(sealed) * 8):
        flipped = bytearray(sealed)
        flipped[position // 8] ^= 1 << position % 8
        with pytest.raises(SecretUnreadable):
            unseal(bytes(flipped), "row")


def test_nothing_cut_off_or_added_is_accepted() -> None:
    sealed = bytes(seal(Secret(CANARY), "row"))
    for length in range(len(sealed)):
        with pytest.raises(SecretUnreadable):
            unseal(sealed[:length], "row")
    for altered in (sealed + b"\0", b"\0" + sealed, sealed[1:], sealed * 2, CANARY.encode()):
        with pytest.raises(SecretUnreadable):
            unseal(altered, "row")


def test_an_unreadable_secret_says_what_to_do_and_holds_nothing(account: OntraportAccount) -> None:
    write(account, b"")
    with pytest.raises(SecretUnreadable, match="put the key back") as caught:
        reread(account).access_token.reveal()
    assert caught.value.code == "secret_unreadable"
    assert caught.value.__context__ is None


def test_a_key_that_is_missing_or_wrong_loses_nothing(account: OntraportAccount) -> None:
    before = column(account)
    for wrong in ([SECOND], [FIRST + "x"], [SECOND, THIRD]):
        with override_settings(ONTRAPORT_ENCRYPTION_KEYS=wrong):
            found = reread(account)
            with pytest.raises(SecretUnreadable):
                found.access_token.reveal()
            found.label = "renamed"
            found.save()
    assert column(account) == before
    assert reread(account).access_token.reveal() == CANARY


def test_all_keys_decrypt_and_the_first_encrypts(account: OntraportAccount) -> None:
    with override_settings(ONTRAPORT_ENCRYPTION_KEYS=[SECOND, FIRST]):
        found = reread(account)
        assert found.access_token.reveal() == CANARY
        found.access_token = "new"
        found.save()
        assert found.access_token.sealed.key_id == current_key_id()
        assert found.refresh_token.sealed.key_id != current_key_id()
    with override_settings(ONTRAPORT_ENCRYPTION_KEYS=[SECOND]):
        assert reread(account).access_token.reveal() == "new"
        with pytest.raises(SecretUnreadable):
            reread(account).refresh_token.reveal()


@pytest.mark.parametrize("unfit", ["short", "", 7, None, b"bytes" * 10])
def test_an_unfit_key_encrypts_nothing_and_no_frame_of_the_error_shows_it_or_the_secret(
    account: OntraportAccount, unfit: object
) -> None:
    before = column(account)
    with override_settings(ONTRAPORT_ENCRYPTION_KEYS=[unfit, FIRST]):
        found = reread(account)
        assert found.access_token.reveal() == CANARY
        found.access_token = Secret("the-newest-token")
        with pytest.raises(OntraportMisconfigured, match="nothing was encrypted") as caught, transaction.atomic():
            found.save()
    assert column(account) == before
    ours = [frame for frame in caught.traceback if "ontraport_connect" in str(frame.path)]
    shown = repr([frame.locals for frame in ours])
    assert "the-newest-token" not in shown
    assert "'short'" not in shown


@pytest.mark.parametrize("keys", [7, "one-key-of-32-characters-or-more-that-is-no-list", {FIRST}, ()])
def test_keys_that_are_no_list_are_said_to_be_that(account: OntraportAccount, keys: Any) -> None:
    with override_settings(ONTRAPORT_ENCRYPTION_KEYS=keys):
        if keys == ():  # as empty as a list: SECRET_KEY it is
            assert current_key_id()
        else:
            with pytest.raises(OntraportMisconfigured, match="nothing was encrypted"):
                current_key_id()
        with pytest.raises(SecretUnreadable):
            reread(account).access_token.reveal()


@override_settings(ONTRAPORT_ENCRYPTION_KEYS=[], SECRET_KEY="old-secret-key", SECRET_KEY_FALLBACKS=[])
def test_without_keys_of_our_own_secret_key_may_change_as_long_as_its_fallback_is_kept() -> None:
    sealed = seal(Secret(CANARY), "row")
    with override_settings(SECRET_KEY="new-secret-key", SECRET_KEY_FALLBACKS=["old-secret-key"]):
        assert unseal(sealed, "row") == CANARY
    with override_settings(SECRET_KEY=b"old-secret-key"):
        assert unseal(sealed, "row") == CANARY
    with override_settings(SECRET_KEY="new-secret-key"), pytest.raises(SecretUnreadable):
        unseal(sealed, "row")


def test_with_keys_of_our_own_secret_key_may_change(account: OntraportAccount) -> None:
    with override_settings(SECRET_KEY="an-entirely-different-key"):
        assert reread(account).access_token.reveal() == CANARY


def test_nothing_is_decrypted_before_it_is_asked_for(account: OntraportAccount) -> None:
    with override_settings(ONTRAPORT_ENCRYPTION_KEYS=[SECOND]):
        found = reread(account)
        assert repr((found.access_token, vars(found))).count("[secret]") == 1
        assert found.is_connected


@pytest.mark.parametrize("lookup", ["exact", "in", "contains", "startswith", "gt", "regex", "range", "iexact"])
def test_it_has_no_lookup(lookup: str) -> None:
    with pytest.raises(FieldError):
        OntraportAccount.objects.filter(**{f"access_token__{lookup}": "a"})


def test_it_can_be_asked_whether_there_is_one(account: OntraportAccount) -> None:
    assert OntraportAccount.objects.filter(access_token__isnull=False, app_id__isnull=True).get() == account


def test_values_are_ciphertexts_that_do_not_show_themselves(account: OntraportAccount) -> None:
    (row,) = OntraportAccount.objects.values("access_token")
    sealed: Any = row["access_token"]
    assert str(sealed) == repr(sealed) == f"<sealed, {len(sealed)} bytes>"
    assert CANARY.encode() not in bytes(sealed)


def test_deferred_secrets_are_read_when_asked_for(account: OntraportAccount) -> None:
    assert OntraportAccount.objects.only("label").get().access_token.reveal() == CANARY
    assert OntraportAccount.objects.only("access_token").get().access_token.reveal() == CANARY
    assert OntraportAccount.objects.defer("access_token").get().refresh_token.reveal() == CANARY + "-refresh"


def test_an_account_can_be_pickled_with_what_is_stored_and_not_with_plain_text(account: OntraportAccount) -> None:
    pickled = pickle.dumps(reread(account))
    assert CANARY.encode() not in pickled
    assert pickle.loads(pickled).access_token.reveal() == CANARY  # noqa: S301
    assert pickle.loads(pickle.dumps(reread(account).access_token)).reveal() == CANARY  # noqa: S301
    account.access_token = "plain"
    with pytest.raises(TypeError, match="cannot be pickled"):
        pickle.dumps(account)


@pytest.mark.parametrize("form", ["json", "jsonl", "xml", "python"])
def test_a_dump_holds_ciphertexts_and_is_loaded_again(account: OntraportAccount, form: str) -> None:
    OntraportAccount.objects.create(user=account.user, label="without")
    dumped = serializers.serialize(form, OntraportAccount.objects.order_by("pk"))
    assert CANARY not in str(dumped)
    OntraportAccount.objects.all().delete()
    for item in serializers.deserialize(form, dumped):
        item.save()
    full, without = OntraportAccount.objects.order_by("pk")
    assert full.access_token.reveal() == CANARY
    assert without.access_token is None


def test_dumpdata_and_loaddata(account: OntraportAccount, tmp_path: Any, capsys: Any) -> None:
    file = tmp_path / "dump.json"
    call_command("dumpdata", "ontraport_connect", output=str(file))
    assert CANARY not in file.read_text()
    assert all(
        CANARY.encode() not in b64decode(value.split(":")[1])
        for row in json.loads(file.read_text())
        for value in row["fields"].values()
        if str(value).startswith("ontraport-sealed:")
    )
    OntraportAccount.objects.all().delete()
    OntraportRevocation.objects.all().delete()
    call_command("loaddata", str(file), verbosity=0)
    assert OntraportAccount.objects.get().access_token.reveal() == CANARY


def test_a_deferred_secret_is_dumped_too(account: OntraportAccount) -> None:
    dumped = serializers.serialize("json", OntraportAccount.objects.only("uid"), fields=["access_token"])
    assert "ontraport-sealed:" in dumped


def test_a_dump_that_was_altered_is_refused(account: OntraportAccount) -> None:
    dumped = serializers.serialize("json", [account]).replace("ontraport-sealed:", "ontraport-sealed:%")
    with pytest.raises((SecretUnreadable, serializers.base.DeserializationError)):
        list(serializers.deserialize("json", dumped))


def test_forms_and_model_dicts_know_nothing_of_secrets(account: OntraportAccount) -> None:
    assert not set(COLUMNS) & set(model_to_dict(account))
    account.full_clean()
    assert account.access_token.reveal() == CANARY


def test_a_stored_secret_shows_nothing(account: OntraportAccount) -> None:
    secret = reread(account).access_token
    assert isinstance(secret, StoredSecret)
    assert (repr(secret), str(secret), repr(secret.sealed)) == (
        "[secret]",
        "[secret]",
        f"<sealed, {len(secret.sealed)} bytes>",
    )


def test_the_field_survives_a_migrations_round_trip() -> None:
    field = OntraportAccount._meta.get_field("access_token")
    _, path, arguments, options = field.deconstruct()
    assert path == "ontraport_connect.encryption.fields.EncryptedTextField"
    again = EncryptedTextField(*arguments, **options)
    assert again.deconstruct()[1:] == field.clone().deconstruct()[1:]
    assert again.null
