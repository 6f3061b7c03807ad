"""The constraints of the environment `lowest` are the floors of pyproject.toml."""

from tests.lowest import CONSTRAINTS, constraints


def test_the_constraints_are_the_floors() -> None:
    assert CONSTRAINTS.read_text() == constraints(), "python -m tests.lowest"
