"""Clients that are installed from PyPI and npm, run against the stand-in for Ontraport as a process: which request gets which answer."""
