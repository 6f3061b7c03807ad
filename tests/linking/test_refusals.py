"""What a person reads when Ontraport sends them back without a code (RFC 6749, 4.1.2.1)."""

from __future__ import annotations

import pytest

from ontraport_connect.exceptions import LinkingFailed
from ontraport_connect.linking.refusals import require_success
from ontraport_connect.protocol import AuthorizationResponse


@pytest.mark.parametrize(
    ("parameters", "code", "said"),
    [
        ({"error": ["access_denied"]}, "denied", None),
        ({"error": ["temporarily_unavailable"]}, "unavailable", None),
        ({"error": ["server_error"]}, "unavailable", None),
        ({"error": ["invalid_scope"], "error_description": [" No such\r\nscope.\x00 "]}, "refused", "No such scope."),
        ({"error": ["invalid_scope"]}, "refused", "invalid_scope"),
        ({}, "incomplete", None),
        ({"code": ["x" * 5000]}, "incomplete", None),
    ],
)
def test_an_answer_without_a_code_says_whose_turn_it_is(
    parameters: dict[str, list[str]], code: str, said: str | None
) -> None:
    with pytest.raises(LinkingFailed) as raised:
        require_success(AuthorizationResponse.read(parameters))
    assert (raised.value.code, getattr(raised.value, "said", None)) == (code, said)


def test_an_answer_with_a_code_is_let_through() -> None:
    require_success(AuthorizationResponse.read({"code": ["abc"]}))
