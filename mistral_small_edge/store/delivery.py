"""Bringing files to their place on a disk: locked, continued, checked, and renamed when whole.

Bytes go into a file of a recognisable name on the disk where the target will be, and are hashed on
their way; only a file whose sha256 is the published one gets its real name. Where the bytes come
from is the order's business, whether network or another disk.
"""

from __future__ import annotations

import errno
import os
import shutil
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from huggingface_hub.utils import WeakFileLock  # type: ignore[attr-defined] # lazy export

from mistral_small_edge.errors import (
    CannotWrite,
    ChecksumMismatch,
    DiskFull,
    HubUnreachable,
    InvalidRequest,
)
from mistral_small_edge.store.checksums import sha256_of
from mistral_small_edge.store.partial_file import PartialFile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from mistral_small_edge.store.checksums import Checksums
    from mistral_small_edge.store.hub import Body

Phase = Literal["waiting", "checking", "fetching", "retrying"]
_LOCK_PATIENCE = 0.5  # seconds between two looks at how far another process is


@dataclass(frozen=True, slots=True)
class FetchProgress:
    """How far it is, in bytes of all files; `initial` of them were there before this run.

    `waiting`: another process fetches it. `checking`: what an earlier run left is read.
    `retrying`: the connection broke or stalled, and the next one is about to be made.
    """

    phase: Phase
    done: int
    total: int
    initial: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """One file to be brought.

    Attributes:
        name: for errors.
        size, sha256: what it must be; None if nobody published a checksum.
        target: where it goes; `partial` until it is whole, `damaged` if it turns out wrong. All on
            one disk.
        lock: held while it is written.
        private: the target is in a directory of the user's own, where a file of that name may be
            another one, and where no lock is left behind.
        body: opens the bytes from an offset on; HubUnreachable means that trying again may help.
    """

    name: str
    size: int
    sha256: str | None
    target: Path
    partial: Path
    damaged: Path
    lock: Path
    private: bool
    body: Callable[[int], AbstractContextManager[Body]]

    @property
    def missing(self) -> int:
        """Bytes that still have to be written."""
        if self.target.exists():
            return 0
        try:
            return max(self.size - self.partial.stat().st_size, 0)
        except FileNotFoundError:  # not begun, or renamed by another process this very moment
            return self.size


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """The files of one model, brought one after another.

    Attributes:
        source: what a user would pass to `download`, for errors.
        retry_delays: seconds before each attempt that follows one without progress; when they are
            used up, it gives up.
        report: told how far it is, often.
    """

    source: str
    orders: Sequence[Order]
    checksums: Checksums
    retry_delays: Sequence[float]
    report: Callable[[FetchProgress], None]

    def run(self) -> int:
        """Bring every file that is not there; returns the bytes that came.

        Raises:
            DiskFull, CannotWrite: the disk did not take it; what fitted is kept.
            ChecksumMismatch: other bytes came than were published; they are at its `path`.
            InvalidRequest: another file has the target's name.
            Whatever `body` raises: what came is kept.
        """
        with self.disk_failures():
            for order in self.orders:
                order.partial.parent.mkdir(parents=True, exist_ok=True)
                order.lock.parent.mkdir(parents=True, exist_ok=True)
                # On a small board two copies do not fit, and nothing in this one can be trusted.
                order.damaged.unlink(missing_ok=True)
            self._check_space()
            return sum(map(self._bring, self.orders))

    @contextmanager
    def disk_failures(self) -> Iterator[None]:
        """Turn what the disk says into our errors."""
        directory = self.orders[0].partial.parent
        try:
            yield
        except OSError as error:
            if error.errno == errno.ENOSPC:
                raise self._disk_full() from error
            raise CannotWrite(self.source, f"{directory}: {error.strerror}") from error

    def _check_space(self) -> None:
        error = self._disk_full()
        if error.needed > error.free:
            raise error

    def _disk_full(self) -> DiskFull:
        directory = self.orders[0].partial.parent
        needed = sum(order.missing for order in self.orders)
        return DiskFull(self.source, needed, shutil.disk_usage(directory).free, directory)

    def _bring(self, order: Order) -> int:
        with self._locked(order):
            try:
                if not order.target.exists():
                    return self._write(order)
                if order.private:
                    self._check_target(order)
                return 0
            finally:
                # Whoever waits for the lock will see the target, and write no more than we do.
                if order.private and order.target.exists():
                    order.lock.unlink(missing_ok=True)

    def _write(self, order: Order) -> int:
        with PartialFile(order.partial) as partial:
            if partial.size > order.size:
                partial.restart()
            partial.catch_up(lambda done: self._tell(order, "checking", done, 0))
            self._fill(partial, order)
            partial.sync()
        if order.sha256 is not None and partial.sha256 != order.sha256:
            order.partial.replace(order.damaged)
            raise ChecksumMismatch(order.damaged, order.sha256, partial.sha256)
        order.target.parent.mkdir(parents=True, exist_ok=True)
        order.partial.replace(order.target)
        _sync_directory(order.target.parent)
        if order.sha256 is not None:
            self.checksums.remember(order.target, order.sha256)
        return partial.appended

    def _fill(self, partial: PartialFile, order: Order) -> None:
        """Get what is missing, over as many connections as it takes."""
        initial, fruitless, resumes = partial.size, 0, True
        self._tell(order, "fetching", partial.size, initial)
        while partial.size < order.size:
            before = partial.size
            try:
                with order.body(partial.size if resumes else 0) as body:
                    if body.start is None and resumes and before:
                        resumes = False  # it cannot continue a file: from now on, the whole of it
                    else:
                        self._pour(body, partial, order, initial)
            except HubUnreachable:
                fruitless = 0 if partial.size > before else fruitless + 1
                if fruitless > len(self.retry_delays):
                    raise
                self._tell(order, "retrying", partial.size, initial)
                if fruitless:
                    time.sleep(self.retry_delays[fruitless - 1])

    def _pour(self, body: Body, partial: PartialFile, order: Order, initial: int) -> None:
        if body.start is None:
            raise HubUnreachable(order.name, "what came is not the file")
        if body.start != partial.size:
            partial.restart()  # it is 0: the whole file comes, whatever was asked
        for chunk in body.chunks:
            partial.append(chunk[: order.size - partial.size])
            self._tell(order, "fetching", partial.size, initial)
            if partial.size == order.size:
                return
        raise HubUnreachable(order.name, "the connection ended before the file did")

    def _check_target(self, order: Order) -> None:
        """Never take somebody else's file for ours, and never replace it."""
        if self._is_ours(order):
            return
        directory = str(order.target.parent)
        raise InvalidRequest(
            f"to is {directory!r}, which has another file called {order.target.name}", "to"
        )

    def _is_ours(self, order: Order) -> bool:
        if order.sha256 is None or order.target.stat().st_size != order.size:
            return False
        known = self.checksums.verified(order.target)
        if known is None:
            known = sha256_of(order.target, lambda done: self._tell(order, "checking", done, 0))
            self.checksums.remember(order.target, known)
        return known == order.sha256

    @contextmanager
    def _locked(self, order: Order) -> Iterator[None]:
        initial = order.size - order.missing
        with ExitStack() as stack:
            while True:
                try:
                    stack.enter_context(WeakFileLock(order.lock, timeout=_LOCK_PATIENCE))
                    break
                except TimeoutError:
                    self._tell(order, "waiting", order.size - order.missing, initial)
            yield

    def _tell(self, order: Order, phase: Phase, done: int, initial: int) -> None:
        """`done` and `initial` count this order's bytes."""
        before = sum(other.size for other in self.orders[: self.orders.index(order)])
        total = sum(other.size for other in self.orders)
        self.report(FetchProgress(phase, before + done, total, before + initial))


def _sync_directory(directory: Path) -> None:
    """Make a rename survive a power cut."""
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
