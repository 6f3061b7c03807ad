"""The stand-in as a Django project of its own: its authorization server, its control page, and the process that serves it."""
