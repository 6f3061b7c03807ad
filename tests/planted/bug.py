"""What a planted bug is."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Bug:
    """A guard of the package and what to write in its place.

    ``module`` is a file of the package without ``.py``. ``guard`` occurs in it exactly once and is replaced by ``undone``; then ``test``
    must fail.
    """

    name: str
    module: str
    guard: str
    undone: str
    test: str
