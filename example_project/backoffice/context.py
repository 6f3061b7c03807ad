"""What every template of the site gets."""

from django.conf import settings
from django.http import HttpRequest


def demo(request: HttpRequest) -> dict[str, str]:
    """Add the address of the stand-in for Ontraport when the site runs as the demo, else an empty string."""
    return {"sandbox_url": getattr(settings, "DEMO_SANDBOX_URL", "")}
