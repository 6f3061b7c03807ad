"""What every template of the site may know."""

from django.conf import settings
from django.http import HttpRequest


def demo(request: HttpRequest) -> dict[str, str]:
    """Where the stand-in for Ontraport is, when the site runs as the demo; empty otherwise."""
    return {"sandbox_url": getattr(settings, "DEMO_SANDBOX_URL", "")}
