"""A stand-in for app., mcp. and api.ontraport.com on one origin, to develop and test against.

It is a Django project of its own, with its own process, port and database::

    python -m example_project.sandbox --port 8001
"""
