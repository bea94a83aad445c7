"""Ties a process to its parent: when the parent dies, even by SIGKILL, the process is asked to stop.

``python -m config.tether PARENT_PID COMMAND ...`` ties itself and then becomes COMMAND, under the same process ID.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # linux/prctl.h


def tie(parent: int) -> None:
    """Have the kernel send SIGTERM to this process when ``parent`` dies; it survives exec. Without effect off Linux.

    The kernel watches the *thread* that started this process: start it from one that lives as long as the process.
    """
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
    # A parent that died before the call above sends nothing any more.
    if os.getppid() != parent:
        sys.exit(1)


def command(arguments: list[str]) -> list[str]:
    """The command line that runs ``arguments`` tied to this process."""
    return [sys.executable, "-m", "config.tether", str(os.getpid()), *arguments]


if __name__ == "__main__":
    tie(int(sys.argv[1]))
    os.execv(sys.argv[2], sys.argv[2:])  # noqa: S606 - there is nothing for a shell to do
