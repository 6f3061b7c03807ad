"""Errors of the demo, worded for people."""


class DemoError(Exception):
    """Ends the demo with exit status 1. Its text is shown as it is."""
