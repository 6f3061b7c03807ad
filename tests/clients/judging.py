"""Whether an answer is the right one, a refusal in words, or wrong."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any

from tests.clients.running import Outcome
from tests.support.stand_in import holds

RIGHT, REFUSED, WRONG = "right", "refused", "WRONG"


@dataclass(frozen=True, kw_only=True)
class Expected:
    """What a right answer holds, and words of a right refusal (a regular expression). One that is ``None`` would be wrong."""

    answer: Any = None
    refusal: str | None = None


@dataclass(frozen=True, kw_only=True)
class Row:
    client: str
    setting: str
    request: str
    answer: str
    verdict: str


@dataclass
class Ledger:
    """The rows of one client."""

    client: str
    rows: list[Row] = field(default_factory=list)

    def note(self, setting: str, request: str, outcome: Outcome, expected: Expected) -> bool:
        """Add a row, and return whether the answer was the right one."""
        verdict = verdict_on(outcome, expected)
        answer = outcome.error or json.dumps(outcome.value, ensure_ascii=False)
        row = Row(client=self.client, setting=setting, request=request, answer=masked(answer), verdict=verdict)
        self.rows.append(row)
        return verdict == RIGHT


def masked(answer: str) -> str:
    """Return an answer without the tokens in it, in one line."""
    tokens = re.compile(r'("(?:access|refresh)_token": )"[^"]*"')
    return " ".join(tokens.sub(r'\1"•••"', answer).split())


def verdict_on(outcome: Outcome, expected: Expected) -> str:
    if outcome.error:
        said = expected.refusal is not None and re.search(expected.refusal, outcome.error, re.IGNORECASE)
        return REFUSED if said else WRONG
    return RIGHT if expected.answer is not None and holds(outcome.value, expected.answer) else WRONG


def of_tool(outcome: Outcome, *, structured: bool) -> Outcome:
    """Return the outcome of a tool: what its result says, or the words of its failure. What says two things is ``None``."""
    if outcome.error:
        return outcome
    result = outcome.value
    if result["is_error"]:
        return Outcome(error=result["text"] or "no words")
    says = json.loads(result["text"])
    agrees = result["structured"] == says if structured else result["structured"] is None
    return Outcome(value=says if agrees else None)
