"""Ends its whole process group when the demo is gone, however it ended.

The demo holds the other end of this process's standard input. The kernel closes it when the demo dies, even of `kill -9`. Every child of
the demo is started in this process's group.
"""

import os
import shutil
import signal
import sys
import time

SECONDS_TO_FINISH = 2.0


def main(directory: str) -> None:
    """Wait for the end of standard input, terminate the group, and remove ``directory``."""
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    sys.stdin.buffer.read()
    os.killpg(0, signal.SIGTERM)
    time.sleep(SECONDS_TO_FINISH)
    shutil.rmtree(directory, ignore_errors=True)
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    main(sys.argv[1])
