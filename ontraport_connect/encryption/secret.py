"""A text that only ``reveal()`` shows."""

from __future__ import annotations

import hmac
from collections.abc import Callable
from typing import NoReturn

MASK = "[secret]"


class Secret:
    """A text that logs, tracebacks, ``repr``, ``vars`` and serializers do not show.

    ``value`` is the text, or a function that returns it, so that a stored secret is decrypted only when it is needed.
    """

    __slots__ = ("_read",)

    def __init__(self, value: str | Callable[[], str]) -> None:
        self._read: Callable[[], str] = value if callable(value) else lambda: value

    def reveal(self) -> str:
        """Return the text. Raises ``SecretUnreadable`` when a stored secret cannot be decrypted."""
        return self._read()

    reveal.alters_data = True  # type: ignore[attr-defined]  # Django's templates and Jinja's sandbox do not call it; plain Jinja does

    def __repr__(self) -> str:
        return MASK

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return format(MASK, spec)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self.reveal().encode(), other.reveal().encode())

    __hash__ = None  # type: ignore[assignment]  # equal hashes would give equal secrets away

    def __copy__(self) -> Secret:
        return self

    def __deepcopy__(self, memo: dict[int, object]) -> Secret:
        return self

    def __reduce__(self) -> NoReturn:
        raise TypeError("A secret cannot be pickled; save the account and pass its uid instead.")
