"""A worker of somebody else's slow tasks, which also knows this app's: ``celery -A tests.drill.slow_worker worker``."""

from __future__ import annotations

import time

from tests.support.celery_app import app

app.conf.task_annotations = {"*": {"rate_limit": "100/s"}}  # what is registered reads otherwise then


@app.task(name="shop.slow")
def slow(seconds: float) -> None:
    time.sleep(seconds)
