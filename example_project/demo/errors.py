"""What the demo cannot do, said in words for a person."""


class DemoError(Exception):
    """Ends the demo with exit status 1; its text is shown as it is."""
