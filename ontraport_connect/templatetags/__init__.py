"""The template tag library ``ontraport_connect``."""
