"""A site's own task, which calls Ontraport: for a worker that is started with ``--include tests.support.calling_tasks``."""

from celery import shared_task

from ontraport_connect.models import OntraportAccount


@shared_task(ignore_result=True)
def call_a_tool(pk: int) -> None:
    OntraportAccount.objects.get(pk=pk).mcp("echo")
