"""kill -9, and the end of what was killed."""

import os
import select
import signal


def kill(*pids: int, seconds: float = 20.0) -> None:
    """All at once, then wait: until a process has ended it holds its files locked. Its parent need not wait for it."""
    processes = [os.pidfd_open(pid) for pid in pids]
    for process in processes:
        signal.pidfd_send_signal(process, signal.SIGKILL)
    for process in processes:
        assert select.select([process], [], [], seconds)[0], "it was killed and has not ended"
        os.close(process)
