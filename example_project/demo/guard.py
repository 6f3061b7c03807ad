"""The last one out: ends its whole process group when the demo is gone, however it went.

The demo holds the other end of this process's standard input. The kernel closes it when the demo dies, `kill -9`
included, and every child of the demo was born into the group of this process.
"""

import os
import shutil
import signal
import sys
import time

SECONDS_TO_FINISH = 2.0


def main(directory: str) -> None:
    """Wait for the end of standard input, end the group, and remove ``directory``."""
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    sys.stdin.buffer.read()
    os.killpg(0, signal.SIGTERM)
    time.sleep(SECONDS_TO_FINISH)
    shutil.rmtree(directory, ignore_errors=True)
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    main(sys.argv[1])
