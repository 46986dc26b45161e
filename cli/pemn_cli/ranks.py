"""One command as several processes, as `torchrun` starts it: how they meet and end, and which one speaks."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from datetime import timedelta
from types import FrameType

__all__ = ["StoppedError", "command_line", "launched", "meeting", "speaks"]


class StoppedError(KeyboardInterrupt):
    """`torchrun` told this process to stop, as it does when another one ended."""


def launched() -> bool:
    """Whether `torchrun` started this process."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def command_line() -> str:
    """What a user types to run this program as it runs now, up to its arguments."""
    processes = os.environ.get("LOCAL_WORLD_SIZE", "N")
    return f"torchrun --nproc-per-node {processes} -m pemn_cli" if launched() else "pemn-compress"


@contextlib.contextmanager
def meeting() -> Iterator[None]:
    """Join the other processes of the command inside the block; does nothing where there are none."""
    if not launched():
        yield
        return
    from pemn_compress.train.distributed import process_group

    signal.signal(signal.SIGTERM, _stop)
    try:
        with process_group():
            yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # whatever the reason is, it is being dealt with


def speaks() -> bool:
    """Whether this process says why the command failed: of several, the first one to fail.

    The others fail for the same reason, or because it did.
    """
    if not launched():
        return True
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # torchrun sends it once another process has ended
    try:
        from torch.distributed import TCPStore  # type: ignore[attr-defined]

        address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
        store = TCPStore(address, port, is_master=False, timeout=timedelta(seconds=10))
        attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
        return bool(store.add(f"pemn-compress/failed/{attempt}", 1) == 1)
    except (ImportError, KeyError, ValueError, RuntimeError):
        return True


def _stop(number: int, frame: FrameType | None) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise StoppedError
