"""The command ``manage.py ontraport``, one module a subcommand."""
