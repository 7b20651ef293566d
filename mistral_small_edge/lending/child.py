"""What runs in a process of its own: `python -m mistral_small_edge.lending.child`.

Takes one order from stdin, a line of JSON, and is gone when stdin is closed: whoever started this holds
the other end, and may die in any way. What ggml and llama.cpp say goes to stdout and stderr as it is.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
from pathlib import Path
from threading import Thread

import psutil

from mistral_small_edge.errors import WorkerFailed
from mistral_small_edge.host import available_memory, probe_host
from mistral_small_edge.lending.process import HOPELESS
from mistral_small_edge.llama import rpc_server
from mistral_small_edge.llama.log import logger


class Memory:
    """What this process may lend, at the time of asking.

    Args:
        most: bytes, together with what is lent already; None is all that the machine has.
    """

    def __init__(self, most: int | None) -> None:
        self._most = most
        self._process = psutil.Process()
        self._at_start = self._process.memory_info().rss
        self._total = probe_host().total_memory

    def __call__(self, free: int, total: int) -> tuple[int, int]:
        """Free and total bytes; of a device that tells both itself, no more than that."""
        if not total:
            free, total = available_memory(), self._total
        if self._most is None:
            return free, total
        lent = max(0, self._process.memory_info().rss - self._at_start)
        return min(free, max(0, self._most - lent)), min(total, self._most)


def main() -> None:
    """Lend what stdin orders."""
    for number in (signal.SIGINT, signal.SIGTERM):  # whoever started this ends it
        signal.signal(number, signal.SIG_IGN)
    order = json.loads(sys.stdin.readline())
    Thread(target=_end_with_stdin, daemon=True).start()
    logger.addHandler(logging.StreamHandler())
    logger.setLevel(logging.DEBUG)
    cache = order["cache"]
    try:
        rpc_server.serve(
            order["address"],
            order["threads"],
            None if cache is None else Path(cache),
            Memory(order["memory"]),
        )
    except WorkerFailed as error:
        logger.error("%s", error.reason)
        sys.exit(HOPELESS)
    sys.exit(1)  # it has said why


def _end_with_stdin() -> None:
    while os.read(0, 4096):
        pass
    os._exit(0)  # out of C, which has no end of its own


if __name__ == "__main__":
    main()
