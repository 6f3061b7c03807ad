"""One log event, one count and one span for each thing that happened, and never a reason for anything to fail."""

from __future__ import annotations

import logging
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest
from django.db import OperationalError, connection
from django.test import override_settings
from django.test.utils import CaptureQueriesContext
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from ontraport_connect import monitoring, refreshing
from ontraport_connect.exceptions import OntraportError, OntraportRejected, OntraportUnavailable, ReconnectRequired
from ontraport_connect.models import OntraportAccount
from ontraport_connect.refreshing import batches
from ontraport_connect.using import rate_limiter
from tests.monitoring.scrape import value
from tests.support import ontraport
from tests.support.accounts import linked
from tests.support.linked import key_account, linked_account, person
from tests.support.servers import PROJECT, Sandbox
from tests.support.strict_server import StrictServer

pytestmark = pytest.mark.django_db(transaction=True)
LOGGER = "ontraport_connect.refreshing"
EXPORTER = InMemorySpanExporter()


@pytest.fixture(scope="module", autouse=True)
def provider() -> None:
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(EXPORTER))
    trace.set_tracer_provider(provider)


@pytest.fixture
def spans(caplog: pytest.LogCaptureFixture) -> InMemorySpanExporter:
    EXPORTER.clear()
    return EXPORTER


@pytest.fixture
def at_sandbox(sandbox: Sandbox) -> Iterator[Sandbox]:
    with override_settings(**ontraport.settings_for(sandbox.url)):
        yield sandbox


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, LOGGER)
    return caplog


def told(log: pytest.LogCaptureFixture) -> list[tuple[str, str, str]]:
    """Return event, account and result of each event."""
    records: list[Any] = [record for record in log.records if record.name == LOGGER]
    assert all(record.levelno == logging.INFO and record.seconds >= 0 for record in records)
    return [(record.event, record.account, record.result) for record in records]


def attributes(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


def test_a_refresh_is_one_event_with_stable_fields(strict: StrictServer, log: pytest.LogCaptureFixture) -> None:
    account, before = linked("g"), value("refreshes_total", result="refreshed")
    refreshing.refresh(account)
    assert told(log) == [("ontraport.refresh", str(account.uid), "refreshed")]
    assert value("refreshes_total", result="refreshed") == before + 1
    assert not any(word in log.text for word in ("r.g.", "a.g.", "strict-secret"))


@pytest.mark.parametrize(
    ("behaviour", "result", "error"),
    [
        ({"status": 400, "members": {"error": "invalid_grant"}}, "invalid_grant", ReconnectRequired),
        ({"status": 503}, "http_503", OntraportUnavailable),
        ({"status": 401, "members": {"error": "invalid_client"}}, "invalid_client", OntraportError),
    ],
)
def test_a_refresh_that_fails_says_how(
    strict: StrictServer, log: pytest.LogCaptureFixture, behaviour: Any, result: str, error: Any
) -> None:
    strict.behave(**behaviour)
    account, before = linked("g"), value("refreshes_total", result=result)
    with pytest.raises(error):
        refreshing.refresh(account)
    assert told(log) == [("ontraport.refresh", str(account.uid), result)]
    assert value("refreshes_total", result=result) == before + 1


def test_a_batch_tells_each_of_its_accounts(strict: StrictServer, log: pytest.LogCaptureFixture) -> None:
    accounts = [linked(f"g{number}") for number in range(4)]
    strict.behave("g3", status=503)
    before = value("refresh_seconds_count")
    batches.refresh_batch([account.pk for account in accounts])
    results = sorted((account, result) for _, account, result in told(log))
    expected = [(str(each.uid), "http_503" if each is accounts[3] else "refreshed") for each in accounts]
    assert results == sorted(expected)
    assert value("refresh_seconds_count") == before + 4


def test_nothing_is_told_before_the_answer_is_saved(strict: StrictServer, log: pytest.LogCaptureFixture) -> None:
    """A handler that takes its time must not lengthen the moment in which the new token is in no database."""
    account, seen = linked("g"), []

    class Reader(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            seen.append(OntraportAccount.objects.get(pk=account.pk).access_token.reveal())

    handler = Reader()
    logging.getLogger(LOGGER).addHandler(handler)
    try:
        refreshing.refresh(account)
    finally:
        logging.getLogger(LOGGER).removeHandler(handler)
    assert seen == ["a.g.1"]


def test_a_log_handler_that_raises_breaks_no_refresh(strict: StrictServer, log: pytest.LogCaptureFixture) -> None:
    class Broken(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise LookupError("no place to log to")

    handler = Broken()
    logging.getLogger(LOGGER).addHandler(handler)
    try:
        account = linked("g")
        refreshing.refresh(account)
    finally:
        logging.getLogger(LOGGER).removeHandler(handler)
    assert account.access_token.reveal() == "a.g.1"


def test_metrics_that_cannot_be_written_break_nothing(strict: StrictServer) -> None:
    seconds: Any = "no number"
    monitoring.refresh_ended(UUID(int=0), "refreshed", seconds)
    monitoring.turn_reserved(seconds)


def test_a_refresh_costs_no_query_more_for_being_told(strict: StrictServer) -> None:
    account = linked("g")
    with CaptureQueriesContext(connection) as queries:
        monitoring.refresh_ended(account.uid, "refreshed", 0.1)
    assert len(queries) == 0


def test_the_limiter_counts_what_goes_at_once_waits_and_is_refused() -> None:
    account = key_account(person("maya"))
    kinds = ("at_once", "waited", "refused")
    before = [value("limiter_turns_total", result=kind) for kind in kinds]
    waits = value("limiter_wait_seconds_count")
    with override_settings(ONTRAPORT_RATE_LIMIT=(1, 60)):
        rate_limiter.reserve(account, patience=1)
        rate_limiter.reserve(account, patience=100)
        with pytest.raises(OntraportUnavailable):
            rate_limiter.reserve(account, patience=1)
    assert [value("limiter_turns_total", result=kind) for kind in kinds] == [count + 1 for count in before]
    assert value("limiter_wait_seconds_count") == waits + 2


def test_a_rest_call_is_counted_and_traced_without_its_query(at_sandbox: Sandbox, spans: InMemorySpanExporter) -> None:
    account, before = key_account(person("maya")), value("calls_total", api="rest", result="ok")
    account.rest("GET", "objects?objectID=0", params={"range": 1})
    assert value("calls_total", api="rest", result="ok") == before + 1
    (span,) = spans.get_finished_spans()
    assert (span.name, span.kind) == ("ontraport.rest", trace.SpanKind.CLIENT)
    assert attributes(span) == {"http.request.method": "GET", "url.path": "/1/objects"}


def test_a_call_that_fails_leaves_its_code_and_nothing_else(at_sandbox: Sandbox, spans: InMemorySpanExporter) -> None:
    account = key_account(person("maya"))
    with pytest.raises(OntraportRejected):
        account.rest("GET", "nowhere")
    (span,) = spans.get_finished_spans()
    assert attributes(span)["error.type"] == "http_501"
    assert (span.status.status_code, span.status.description, span.events) == (trace.StatusCode.ERROR, None, ())
    assert value("calls_total", api="rest", result="http_501") >= 1


def test_an_mcp_call_and_the_refresh_in_it_are_one_trace(at_sandbox: Sandbox, spans: InMemorySpanExporter) -> None:
    account = linked_account(person("maya"), at_sandbox)
    spans.clear()
    OntraportAccount.objects.filter(pk=account.pk).update(expires_at=account.linked_at)
    account.refresh_from_db()
    account.mcp("count_objects", objectID="0")
    account.mcp_tools()
    inner, outer, tools = (span for span in spans.get_finished_spans() if span.name.startswith("ontraport."))
    assert (inner.name, outer.name, tools.name) == ("ontraport.token", "ontraport.mcp", "ontraport.mcp")
    assert inner.parent is not None
    assert inner.parent.span_id == outer.context.span_id
    assert attributes(inner) == {"ontraport.grant": "refresh_token", "server.address": "127.0.0.1"}
    assert attributes(outer) == {"ontraport.tool": "count_objects"}


def test_an_error_of_others_is_told_by_its_class(spans: InMemorySpanExporter) -> None:
    with pytest.raises(KeyError), monitoring.calling("rest"):
        raise KeyError("a secret, perhaps")
    (span,) = spans.get_finished_spans()
    assert attributes(span) == {"error.type": "KeyError"}
    assert "perhaps" not in span.to_json()


def test_a_row_that_cannot_be_written_is_told_as_noted(strict: StrictServer, log: pytest.LogCaptureFixture) -> None:
    account = linked("g")

    def locked(execute: Any, sql: str, params: Any, is_many: bool, context: Any) -> Any:
        if sql.startswith("UPDATE") and '"refreshed_at"' in sql:
            raise OperationalError("locked") from type("Locked", (Exception,), {"sqlstate": "55P03"})()
        return execute(sql, params, is_many, context)

    with connection.execute_wrapper(locked):
        refreshing.refresh(account)
    assert [result for _, _, result in told(log)] == ["noted"]
    OntraportAccount.objects.update(lease_until=None)
    refreshing.recover_all()
    assert [result for _, _, result in told(log)] == ["noted", "recovered"]


def run_without(*packages: str, code: str) -> str:
    """Run code in a process in which these packages cannot be imported, and return what it prints."""
    blocked = "\n".join(f"sys.modules[{name!r}] = None" for name in packages)
    script = f"import sys\n{blocked}\nimport django\ndjango.setup()\n{textwrap.dedent(code)}"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script], capture_output=True, text=True, cwd=PROJECT, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


WITHOUT = """
    from uuid import UUID
    from ontraport_connect import monitoring
    monitoring.refresh_ended(UUID(int=0), "refreshed", 0.1)
    monitoring.turn_reserved(0.0)
    monitoring.turn_refused()
    with monitoring.calling("rest"), monitoring.span("ontraport.token"):
        print(monitoring.carried(len)("abc"), monitoring.is_prometheus_installed())
    """


def test_without_the_extras_nothing_is_imported_and_everything_works(
    child_environ: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, text in child_environ().items():
        monkeypatch.setenv(name, text)
    assert run_without("prometheus_client", "opentelemetry", code=WITHOUT) == "3 False\n"


def test_several_processes_are_added_up(child_environ: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    for name, text in child_environ(PROMETHEUS="").items():
        monkeypatch.setenv(name, text)
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    code = """
        from uuid import UUID
        from ontraport_connect import monitoring
        monitoring.refresh_ended(UUID(int=0), "refreshed", 0.1)
        print(monitoring.metrics_text([])[0].decode())
        """
    run_without(code=code)
    assert 'ontraport_connect_refreshes_total{result="refreshed"} 2.0' in run_without(code=code)
