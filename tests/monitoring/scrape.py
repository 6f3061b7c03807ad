"""Read the metrics of this process, as a scrape does."""

from __future__ import annotations

from prometheus_client import REGISTRY
from prometheus_client.parser import text_string_to_metric_families

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def value(name: str, **labels: str) -> float:
    """Return the value of a counter in this process, 0 where it was not touched yet."""
    return REGISTRY.get_sample_value(f"ontraport_connect_{name}", labels) or 0.0


def samples(text: str) -> Samples:
    """Return every sample of a scrape, by its name and labels."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def sample(text: str, name: str, **labels: str) -> float | None:
    return samples(text).get((f"ontraport_connect_{name}", frozenset(labels.items())))
