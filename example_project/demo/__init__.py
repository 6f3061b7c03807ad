"""`python -m example_project.demo`: the example site and everything around it, started and stopped together."""

import sys

if sys.platform == "win32":
    sys.exit("The demo starts a Valkey server, which Windows does not have. It runs on Linux, macOS and in WSL.")
