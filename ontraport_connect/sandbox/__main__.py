"""Starts the stand-in: ``python -m ontraport_connect.sandbox --port 8001``."""

import sys

from ontraport_connect.sandbox.server.process import main

sys.exit(main())
