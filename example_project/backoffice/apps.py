from django.apps import AppConfig

from example_project.celery import app as celery_app

__all__ = ["BackofficeConfig", "celery_app"]


class BackofficeConfig(AppConfig):
    """The shop's back office.

    Its module loads the Celery app, so that a task sent by a view goes to the configured broker.
    """

    name = "example_project.backoffice"
    verbose_name = "Back office"
