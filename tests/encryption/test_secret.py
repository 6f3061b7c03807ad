"""A secret shows its text to `reveal()` only."""

from __future__ import annotations

import copy
import json
import pickle
import pprint
import traceback
from typing import Any

import pytest
from django.core.serializers.json import DjangoJSONEncoder
from django.template import Context, Engine
from django.views.debug import get_default_exception_reporter_filter

from ontraport_connect.encryption import Secret

CANARY = "canary-4f9a1c77d2"


@pytest.fixture
def secret() -> Secret:
    return Secret(CANARY)


def test_it_reads_as_what_it_was_made_of(secret: Secret) -> None:
    assert secret.reveal() == CANARY
    assert Secret(lambda: CANARY).reveal() == CANARY


@pytest.mark.parametrize(
    "show",
    [
        repr,
        str,
        ascii,
        format,
        lambda secret: f"{secret:>30}",
        lambda secret: f"{secret!r}",
        lambda secret: "%s %r" % (secret, secret),  # noqa: UP031
        "{0} {0!s}".format,
        lambda secret: pprint.pformat({"a": [secret]}),
        lambda secret: json.dumps({"a": secret}, default=str),
        lambda secret: str(dir(secret)),
        lambda secret: repr(secret._read),
        lambda secret: repr(secret.reveal),
        lambda secret: Engine().from_string("{{ a }} {{ a.reveal }} {{ a|safe }}x").render(Context({"a": secret})),
        lambda secret: str(get_default_exception_reporter_filter().cleanse_setting("A", secret)),
    ],
)
def test_it_shows_nothing(secret: Secret, show: Any) -> None:
    shown = show(secret)
    assert shown
    assert CANARY not in shown


@pytest.mark.parametrize(
    "take",
    [
        pickle.dumps,
        json.dumps,
        lambda secret: json.dumps(secret, cls=DjangoJSONEncoder),
        vars,
        len,
        iter,
        bytes,
        hash,
        sorted,
        lambda secret: secret + "x",
        lambda secret: "x" + secret,
        lambda secret: CANARY in secret,
        "".join,
    ],
)
def test_it_cannot_be_taken_apart(secret: Secret, take: Any) -> None:
    with pytest.raises(TypeError) as caught:
        take(secret)
    assert CANARY not in "".join(traceback.format_exception(caught.value))


def test_copies_are_the_secret_itself(secret: Secret) -> None:
    assert copy.copy(secret) is secret
    assert copy.deepcopy({"a": secret})["a"] is secret


def test_two_are_equal_when_they_hold_the_same_and_never_equal_to_the_plain_text(secret: Secret) -> None:
    assert secret == Secret(CANARY)
    assert secret != Secret(CANARY + "x")
    assert secret != CANARY
    assert secret != None  # noqa: E711  # what Django's checks for empty values ask
