"""The common design, for comparison: one Celery task per account, which reads it, refreshes it and saves it."""

from __future__ import annotations

import os
from datetime import timedelta

import requests
from celery import shared_task
from django.utils import timezone

from ontraport_connect.models import OntraportAccount


@shared_task(name="tests.benchmarks.naive.refresh", ignore_result=True)
def refresh(pk: int) -> None:
    account = OntraportAccount.objects.get(pk=pk)
    form = {"grant_type": "refresh_token", "refresh_token": account.refresh_token.reveal()}
    tokens = requests.post(os.environ["BENCHMARK_TOKEN_URL"], data=form, timeout=10).json()
    account.access_token, account.refresh_token = tokens["access_token"], tokens["refresh_token"]
    account.expires_at = timezone.now() + timedelta(seconds=tokens["expires_in"])
    account.save()
