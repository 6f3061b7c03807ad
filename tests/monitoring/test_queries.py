"""The queries of the example dashboard and of the alerts, against the metrics of a real run."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import product

import pytest
from django.test import Client, override_settings

from ontraport_connect import monitoring, refreshing
from ontraport_connect.exceptions import OntraportUnavailable
from ontraport_connect.models import Status
from ontraport_connect.using import rate_limiter
from tests.monitoring.scrape import samples
from tests.support.accounts import linked
from tests.support.linked import key_account, person
from tests.support.servers import PROJECT
from tests.support.strict_server import StrictServer

pytestmark = pytest.mark.django_db(transaction=True)
TOKEN = "a-token-for-monitoring-alone"
SELECTOR = re.compile(r"\b(ontraport_connect_\w+)(?:\{([^}]*)\})?")
GROUPING = re.compile(r"\bby \(([^)]*)\)")

DASHBOARD = json.loads((PROJECT / "docs" / "grafana-dashboard.json").read_text())
ALERTS = (PROJECT / "docs" / "alerts.yml").read_text()
QUERIES = [
    *(target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]),
    *re.findall(r"expr:(.*?)\n +(?:for|labels):", ALERTS, re.DOTALL),
]


@pytest.fixture
def scraped(strict: StrictServer) -> str:
    """What a scrape sees after refreshes that went well and failed, calls, and a limiter at work."""
    refreshing.refresh(linked("well"))
    refreshing.record_worker(refreshing.database_time())
    strict.behave("ill", status=503)
    with pytest.raises(OntraportUnavailable):
        refreshing.refresh(linked("ill"))
    linked("gone", status=Status.NEEDS_RECONNECT)
    account = key_account(person("rest"))
    with (
        override_settings(ONTRAPORT_REST_URL="http://127.0.0.1:1/1/"),
        pytest.raises(OntraportUnavailable),
    ):
        account.rest("GET", "objects")
    with monitoring.calling("mcp"):
        rate_limiter.reserve(account, patience=1)
    with override_settings(ONTRAPORT_MONITORING_TOKEN=TOKEN):
        response = Client().get("/ontraport/metrics/", headers={"Authorization": f"Bearer {TOKEN}"})
    assert response.status_code == 200
    return response.content.decode()


def _one_by_one(wanted: list[tuple[str, str, str]]) -> Iterator[dict[str, str]]:
    """Yield the labels that a selector asks for. ``=~`` names several values, each of which has to be there."""
    values = [value.split("|") if sign == "=~" else [value] for _, sign, value in wanted]
    for chosen in product(*values):
        yield dict(zip((label for label, _, _ in wanted), chosen, strict=True))


def unmatched(query: str, text: str) -> Iterator[str]:
    """Yield what the query asks for and the scrape does not have: a metric, a label, or the value of a label."""
    found = samples(text)
    for name, conditions in SELECTOR.findall(query):
        series = [dict(labels) for metric, labels in found if metric == name]
        if not series:
            yield name
        wanted = re.findall(r'(\w+)(=~?)"([^"]*)"', conditions)
        for each in _one_by_one(wanted):
            if not any(each.items() <= labels.items() for labels in series):
                yield f"{name}{each}"
    asked = {name for name, _ in SELECTOR.findall(query)}
    known = {label for name, labels in found if name in asked for label, _ in labels}
    for label in (each.strip() for names in GROUPING.findall(query) for each in names.split(",")):
        if label not in known:
            yield f"by {label}"


def test_there_are_queries_and_three_alerts() -> None:
    assert len(DASHBOARD["panels"]) == 12
    assert len(re.findall(r"- alert: ", ALERTS)) == 3
    assert len(QUERIES) == sum(len(panel["targets"]) for panel in DASHBOARD["panels"]) + 3
    assert all("ontraport_connect_" in query for query in QUERIES)


def test_every_query_finds_what_it_asks_for(scraped: str) -> None:
    assert {query: [*unmatched(query, scraped)] for query in QUERIES if [*unmatched(query, scraped)]} == {}


@pytest.mark.parametrize(
    "query",
    [
        "max(ontraport_connect_nothing)",
        'ontraport_connect_accounts{state="dead"}',
        'ontraport_connect_heartbeat_age_seconds{process=~"beat|nobody"}',
        "sum by (host) (ontraport_connect_due)",
    ],
)
def test_a_query_for_what_is_not_there_is_noticed(scraped: str, query: str) -> None:
    assert [*unmatched(query, scraped)]


def test_every_metric_that_is_documented_exists(scraped: str) -> None:
    page = (PROJECT / "docs" / "monitoring.md").read_text()
    documented = set(re.findall(r"`(ontraport_connect_\w+?)(?:\{[\w,]+\})?`", page))
    scraped_names = {
        re.sub(r"_(bucket|count|sum)$", "", name) for name, _ in samples(scraped) if not name.endswith("_created")
    }
    ours = {name for name in scraped_names if name.startswith("ontraport_connect_")}
    assert documented == ours
