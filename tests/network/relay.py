"""Bad cables for hosts, where the kernel has no netem: `python relay.py DELAY_MS LOSS RATE CABLES`.

Makes an Ethernet device at each end of a cable, `here0` and `there0` for the first, says so, and
carries frames between them until stdin ends: those from `here` late, some not at all, as netem does for
those that leave a device. RATE is in bytes a second, 0 for no bound.
"""

from __future__ import annotations

import fcntl
import heapq
import os
import random
import select
import struct
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field

_TUNSETIFF = 0x400454CA
_IFF_TAP, _IFF_NO_PI = 0x0002, 0x1000
_LONGEST = 65_536  # bytes of a frame; the kernel cuts them to the device's own measure
_STDIN = 0


@dataclass(slots=True)
class Cable:
    """One direction of one: how it delays, loses and queues."""

    delay: float  # seconds
    loss: float
    rate: float  # bytes a second
    into: int
    chance: random.Random
    queue: list[tuple[float, int, bytes]] = field(default_factory=list)
    free_at: float = 0.0
    count: int = 0

    def put(self, frame: bytes, now: float) -> None:
        """A frame has come: when it leaves, and whether."""
        if self.chance.random() < self.loss:
            return
        self.free_at = max(now, self.free_at) + len(frame) / self.rate
        self.count += 1
        heapq.heappush(self.queue, (self.free_at + self.delay, self.count, frame))

    def deliver(self, now: float) -> None:
        """Hand over what is due."""
        while self.queue and self.queue[0][0] <= now:
            with suppress(OSError):  # the other end is down
                os.write(self.into, heapq.heappop(self.queue)[2])


def _device(name: str) -> int:
    descriptor = os.open("/dev/net/tun", os.O_RDWR)
    request = struct.pack("16sH22x", name.encode(), _IFF_TAP | _IFF_NO_PI)
    fcntl.ioctl(descriptor, _TUNSETIFF, request)
    return descriptor


def main() -> None:
    """Carry until nobody wants it any more."""
    delay, loss, rate, cables = map(float, sys.argv[1:])
    ways: dict[int, Cable] = {}
    for at in range(int(cables)):
        here, there = _device(f"here{at}"), _device(f"there{at}")
        chance = random.Random(at)
        ways[here] = Cable(delay / 1000, loss, rate or float("inf"), there, chance)
        ways[there] = Cable(0.0, 0.0, float("inf"), here, chance)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    while True:
        now = time.monotonic()
        due = [way.queue[0][0] for way in ways.values() if way.queue]
        wait = max(0.0, min(due) - now) if due else None
        ready, _, _ = select.select([_STDIN, *ways], [], [], wait)
        if _STDIN in ready:
            return
        now = time.monotonic()
        for descriptor in ready:
            with suppress(OSError):  # its device is down
                ways[descriptor].put(os.read(descriptor, _LONGEST), now)
        for way in ways.values():
            way.deliver(now)


if __name__ == "__main__":
    main()
