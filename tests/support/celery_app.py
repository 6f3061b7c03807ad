"""The Celery app of the test site: ``celery -A tests.support.celery_app worker``."""

from celery import Celery

from ontraport_connect.schedule import BEAT_SCHEDULE

app = Celery("tests", set_as_current=False)
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks(["ontraport_connect"])
app.conf.beat_schedule = BEAT_SCHEDULE
