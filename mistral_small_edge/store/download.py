"""Fetching a model: from the hub into the shared cache, or to a directory of the user's choice.

Decides what has to be brought and where it goes; `hub` speaks to the network, `delivery` writes.
Nothing here prints: a caller that wants to show progress passes `report`.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from huggingface_hub.file_download import are_symlinks_supported

from mistral_small_edge.errors import NotCached, NotOnHub
from mistral_small_edge.store import cache as model_cache
from mistral_small_edge.store import hub_cache
from mistral_small_edge.store.checksums import Checksums
from mistral_small_edge.store.delivery import Delivery, FetchProgress, Order
from mistral_small_edge.store.hub import Body, Hub
from mistral_small_edge.store.source import HubFile, ModelFile

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from mistral_small_edge.store.hub import RemoteFile
    from mistral_small_edge.store.source import Location, ModelSource

OpenBody = Callable[[int], AbstractContextManager[Body]]

_BLOCK = 1 << 20  # bytes copied at a time


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """A model that is here now; `received` bytes of it came in this run.

    `checked` says by what it is known to be the published one; None if nothing had to be done.
    """

    file: ModelFile
    received: int
    checked: Literal["sha256", "size"] | None


def fetch(
    source: ModelSource,
    hub: Hub | None = None,
    *,
    to: Path | None = None,
    cache: Path | None = None,
    checksums: Checksums | None = None,
    report: Callable[[FetchProgress], None] = lambda _: None,
) -> Fetched:
    """Bring `source` into the hub's cache, or into the directory `to`; at once if it is there.

    A file that the cache has already is copied, not fetched, when `to` is another place.

    Raises:
        HubUnreachable, AccessDenied, NotOnHub: the hub did not deliver; what came is kept.
        NotCached: offline, and it is not here.
        DiskFull, CannotWrite: the disk did not take it; what fitted is kept.
        ChecksumMismatch: other bytes came than were published; they are set aside at `path`.
        InvalidRequest: `to` has another file of that name.
        ModelNotFound, PackageMissing, ModelLoadFailed: see `catalog.resolve`.
    """
    run = _Run(
        source=source,
        hub=hub or Hub(),
        to=to,
        cache=hub_cache.cache_directory(cache),
        checksums=checksums or Checksums(),
        report=report,
    )
    here = run.locate()
    if here is None:
        return run.fetch()
    return Fetched(file=here, received=0, checked=None) if to is None else run.copy(here, to)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Run:
    """What one call of `fetch` was told, and the steps that need it."""

    source: ModelSource
    hub: Hub
    to: Path | None
    cache: Path
    checksums: Checksums
    report: Callable[[FetchProgress], None]

    def locate(self) -> ModelFile | None:
        """Where it is already; None if the hub has to be asked, and may be."""
        try:
            return model_cache.locate(self.source, self.cache)
        except NotCached:
            if self.hub.is_offline:
                raise
            return None

    def fetch(self) -> Fetched:
        """From the first location of the hub that has it."""
        refusal: NotOnHub | None = None
        for location in self.source.locations:
            if isinstance(location, HubFile):
                try:
                    return self._fetch_from(location)
                except NotOnHub as error:  # a repository that moved; the next one may have it
                    refusal = refusal or error
        raise refusal or NotCached(self.source.name, "it is not on the hub")

    def copy(self, here: ModelFile, to: Path) -> Fetched:
        """From elsewhere on this machine."""
        orders = [
            _copy_order(part, to, self.source.sha256 or self.checksums.expected(part))
            for part in here.parts
        ]
        delivery = self._delivery(orders)
        return self._fetched(here.location, delivery, delivery.run())

    def _fetch_from(self, file: HubFile) -> Fetched:
        first = self.hub.describe(file)
        # The later parts of a split file from the same commit, or they may not belong together.
        rest = [
            self.hub.describe(HubFile(part.repository, part.filename, first.file.revision))
            for part in file.parts[1:]
        ]
        delivery = self._delivery([self._order(remote) for remote in (first, *rest)])
        received = delivery.run()
        if self.to is not None:
            return self._fetched(file, delivery, received)
        with delivery.disk_failures():
            for part in file.parts:
                self.hub.link(part, self.cache)
        here = model_cache.locate(self.source, self.cache)
        return Fetched(file=here, received=received, checked=_checked(delivery))

    def _order(self, remote: RemoteFile) -> Order:
        def body(offset: int) -> AbstractContextManager[Body]:
            return self.hub.body(remote, offset)

        if self.to is None:
            return _order_into_cache(remote, self.cache, body)
        name = Path(remote.file.filename).name
        return _order_into(self.to, name, remote.size, remote.sha256, body)

    def _delivery(self, orders: Sequence[Order]) -> Delivery:
        return Delivery(
            source=self.source.name,
            orders=orders,
            checksums=self.checksums,
            retry_delays=self.hub.retry_delays,
            report=self.report,
        )

    def _fetched(self, location: Location, delivery: Delivery, received: int) -> Fetched:
        file = ModelFile(
            name=self.source.name,
            location=location,
            parts=tuple(order.target for order in delivery.orders),
            size=sum(order.size for order in delivery.orders),
            sampling=self.source.sampling,
        )
        return Fetched(file=file, received=received, checked=_checked(delivery))


def _order_into_cache(remote: RemoteFile, cache: Path, body: OpenBody) -> Order:
    file = remote.file
    blobs = hub_cache.blobs_directory(file.repository, cache)
    # Where links are not supported, the cache keeps a file where its link would be.
    linked = are_symlinks_supported(cache)
    return Order(
        name=file.filename,
        size=remote.size,
        sha256=remote.sha256,
        target=blobs / remote.etag if linked else hub_cache.pointer_to(file, cache),
        partial=blobs / hub_cache.unfinished_name(file.filename, remote.etag),
        damaged=blobs / hub_cache.damaged_name(file.filename),
        lock=hub_cache.lock_of(file.repository, remote.etag, cache),
        private=False,
        body=body,
    )


def _order_into(directory: Path, name: str, size: int, sha256: str | None, body: OpenBody) -> Order:
    return Order(
        name=name,
        size=size,
        sha256=sha256,
        target=directory / name,
        partial=directory / hub_cache.unfinished_name(name, sha256 or "unchecked"),
        damaged=directory / hub_cache.damaged_name(name),
        lock=directory / f".{name}.lock",
        private=True,
        body=body,
    )


def _copy_order(path: Path, directory: Path, sha256: str | None) -> Order:
    @contextmanager
    def body(offset: int) -> Iterator[Body]:
        with path.open("rb") as stream:
            stream.seek(offset)
            yield Body(offset, iter(lambda: stream.read(_BLOCK), b""))

    return _order_into(directory, path.name, path.stat().st_size, sha256, body)


def _checked(delivery: Delivery) -> Literal["sha256", "size"]:
    """The weakest of its files' checks."""
    return "sha256" if all(order.sha256 for order in delivery.orders) else "size"
