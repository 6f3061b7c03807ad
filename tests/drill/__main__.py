"""The alarm drill: what stops is stopped, and a table says which signal told of it, and after how long.

    python -m tests.drill

Engine, database, queue, token endpoint and URLs are real; only time is not: the site's clock is moved by moving what its rows say.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

if __name__ == "__main__":
    sys.exit(pytest.main(["-q", "-s", "--no-header", "--durations=0", str(Path(__file__).with_name("test_drill.py"))]))
