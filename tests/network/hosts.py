"""Hosts on a network of their own, on one machine: Linux's network namespaces, joined by a switch.

A namespace lives as long as the process that holds it, which ends when its stdin does: whatever
becomes of the tests, nothing stays behind. On a bad network packets come late and some are lost: netem
does that where the kernel has it, and cables of our own where it has not.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from types import TracebackType

PROGRAMS = ("ip", "tc", "unshare", "nsenter")
_RELAY = Path(__file__).with_name("relay.py")
_QUEUE = 10_000  # packets that netem holds back


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """What befalls a packet when it leaves a host.

    Attributes:
        delay: milliseconds.
        loss: the share that does not arrive.
        rate: bytes a second; None is no bound.
    """

    delay: float = 0.0
    loss: float = 0.0
    rate: int | None = None


def missing(quality: Quality | None = None) -> str | None:
    """What keeps this machine from having such a network; None if nothing does."""
    if sys.platform != "linux":
        return "network namespaces are Linux's"
    if os.geteuid() != 0:
        return "network namespaces are root's to make"
    lacking = [name for name in PROGRAMS if shutil.which(name) is None]
    if lacking:
        return f"{' and '.join(lacking)} not installed (Debian's iproute2 and util-linux)"
    try:
        with Network(1, quality):
            return None
    except subprocess.CalledProcessError as error:
        *_, said = error.stderr.splitlines() or [""]
        return f"this system refuses `{' '.join(error.cmd)}`: {said}"


class Host:
    """A namespace: what is started in it sees no other network.

    Raises:
        CalledProcessError: the system does not let us.
    """

    def __init__(self) -> None:
        command = ("unshare", "--net", "sh", "-c", "ip link set lo up && echo up && exec cat")
        self._holder = _started(command, "up")

    @property
    def pid(self) -> int:
        """Of the process that holds it, as `ip` names a namespace."""
        return self._holder.pid

    def command(self, *words: str) -> tuple[str, ...]:
        """What runs `words` there."""
        return ("nsenter", f"--net=/proc/{self.pid}/ns/net", "--", *words)

    def do(self, *words: str) -> None:
        """Run them to their end.

        Raises:
            CalledProcessError: they failed; `stderr` says why.
        """
        subprocess.run(self.command(*words), check=True, capture_output=True, text=True)

    def close(self) -> None:
        """Let go of it; it is gone when nothing runs there any more."""
        self._holder.communicate()


class Network:
    """Hosts on one switch.

    Args:
        quality: of the cables; None is a good network.

    Raises:
        CalledProcessError: the system does not have it.
    """

    def __init__(self, count: int, quality: Quality | None = None) -> None:
        with ExitStack() as held:
            self._switch = _held(held)
            self.hosts = tuple(_held(held) for _ in range(count))
            self._switch.do("ip", "link", "add", "bridge", "type", "bridge")
            self._switch.do("ip", "link", "set", "bridge", "up")
            if quality is None or _has_netem(self._switch):
                self._lay_cables(quality)
            else:
                held.callback(self._lay_own_cables(quality).communicate)
            for at, host in enumerate(self.hosts):
                self._switch.do("ip", "link", "set", f"there{at}", "master", "bridge", "up")
                host.do("ip", "address", "add", f"{self.address(at)}/24", "dev", "eth0")
                host.do("ip", "link", "set", "eth0", "up")
            self._held = held.pop_all()

    def address(self, at: int) -> str:
        """A host's IPv4 address, a private one."""
        return f"10.60.0.{at + 1}"

    def cut(self, at: int) -> None:
        """Pull a host's cable: nobody is told, packets just do not arrive."""
        self._switch.do("ip", "link", "set", f"there{at}", "down")

    def mend(self, at: int) -> None:
        """Plug it in again."""
        self._switch.do("ip", "link", "set", f"there{at}", "up")

    def close(self) -> None:
        """Let go of all of it."""
        self._held.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.close()

    def _lay_cables(self, quality: Quality | None) -> None:
        for at, host in enumerate(self.hosts):
            here = ("peer", "name", "eth0", "netns", str(host.pid))
            self._switch.do("ip", "link", "add", f"there{at}", "type", "veth", *here)
            if quality is not None:
                host.do("tc", "qdisc", "add", "dev", "eth0", "root", "netem", *_netem(quality))

    def _lay_own_cables(self, quality: Quality) -> subprocess.Popen[str]:
        figures = (quality.delay, quality.loss, quality.rate or 0, len(self.hosts))
        words = (sys.executable, str(_RELAY), *map(str, figures))
        relay = _started(self._switch.command(*words), "ready")
        for at, host in enumerate(self.hosts):
            here = ("netns", str(host.pid), "name", "eth0")
            self._switch.do("ip", "link", "set", f"here{at}", *here)
        return relay


def _held(held: ExitStack) -> Host:
    host = Host()
    held.callback(host.close)
    return host


def _started(command: tuple[str, ...], word: str) -> subprocess.Popen[str]:
    """A process that says `word` when it is ready, and ends when its stdin does."""
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    if process.stdout.readline() != f"{word}\n":
        _, said = process.communicate()
        raise subprocess.CalledProcessError(process.returncode, command, stderr=said)
    return process


def _has_netem(host: Host) -> bool:
    words = ("tc", "qdisc", "add", "dev", "lo", "root", "netem", "delay", "1ms")
    return subprocess.run(host.command(*words), capture_output=True, check=False).returncode == 0


def _netem(quality: Quality) -> tuple[str, ...]:
    words = ("limit", str(_QUEUE), "delay", f"{quality.delay}ms", "loss", f"{quality.loss:%}")
    return words if quality.rate is None else (*words, "rate", f"{8 * quality.rate}bit")
