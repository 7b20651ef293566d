"""Talking to the Hugging Face hub: what a file is, and its bytes from a given place on.

huggingface_hub supplies the session, the headers (HF_TOKEN), the endpoint (HF_ENDPOINT) and the
cache's links; every failure of it or of the network leaves this room as one of our errors. No file
is written here, except for the links.

Files kept in Xet storage are fetched over plain HTTP as well, which the hub offers for every file:
Xet's own protocol fills a file in no order, so an interrupted fetch could not be continued, and
huggingface_hub deletes what it has when it stops.
"""

from __future__ import annotations

import re
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from importlib.metadata import version
from typing import TYPE_CHECKING, assert_never

import httpx2
from huggingface_hub import (
    constants,
    get_hf_file_metadata,
    get_session,
    hf_hub_download,
    hf_hub_url,
    hf_raise_for_status,
)
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    RemoteEntryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined] # lazy export

from mistral_small_edge.errors import (
    AccessDenied,
    DownloadFailed,
    HubUnreachable,
    NotCached,
    NotOnHub,
)
from mistral_small_edge.store.source import HubFile

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_SHA256 = re.compile(r"[0-9a-f]{64}")
_ETAG = re.compile(r"\w[\w-]{0,127}", re.ASCII)  # it names a file of the cache
_LIBRARY = "mistral-small-edge"


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file as the hub has it now: `file` is pinned to a commit.

    `sha256` is None for the few files that git keeps itself (no LFS): nothing to compare with.
    """

    file: HubFile
    etag: str
    size: int

    @property
    def sha256(self) -> str | None:
        """What the bytes must add up to."""
        return self.etag if _SHA256.fullmatch(self.etag) else None


@dataclass(frozen=True, slots=True)
class Body:
    """Bytes on their way; `start` is where in the file they begin.

    None: the answer is not what was asked for, and must not be used.
    """

    start: int | None
    chunks: Iterator[bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Hub:
    """Which hub is asked, and with how much patience.

    Attributes:
        endpoint: None takes HF_ENDPOINT, or the public one.
        offline: ask nobody; also if HF_HUB_OFFLINE says so.
        timeout: seconds without a byte after which a connection counts as dead; None takes
            HF_HUB_DOWNLOAD_TIMEOUT.
        retry_delays: seconds to wait before each new attempt that follows one without progress.
    """

    endpoint: str | None = None
    offline: bool = False
    timeout: float | None = None
    retry_delays: tuple[float, ...] = (1, 2, 4, 8, 16)

    def describe(self, file: HubFile) -> RemoteFile:
        """Ask for a file's size, checksum and commit.

        Raises:
            HubUnreachable, AccessDenied, NotOnHub, NotCached: as they say.
        """
        with self._failures(file):
            metadata = get_hf_file_metadata(
                self._url(file),
                timeout=self._seconds,
                library_name=_LIBRARY,
                library_version=version(_LIBRARY),
            )
        etag, commit, size = metadata.etag, metadata.commit_hash, metadata.size
        if commit is None or size is None or etag is None or not _ETAG.fullmatch(etag):
            raise HubUnreachable(self._host, "what answers there is not a hub")
        return RemoteFile(HubFile(file.repository, file.filename, commit), etag, size)

    @contextmanager
    def body(self, remote: RemoteFile, offset: int) -> Iterator[Body]:
        """Ask for the bytes from `offset` on.

        The address is the hub's own at every attempt, never the storage's that it leads to: that
        one is signed and expires within the hour. The token is not sent on to the storage.

        Raises:
            HubUnreachable, AccessDenied, NotOnHub, NotCached: also while the chunks are read.
        """
        headers = build_hf_headers(library_name=_LIBRARY, library_version=version(_LIBRARY))
        headers["Accept-Encoding"] = "identity"  # offsets count the file's own bytes
        if offset:
            headers["Range"] = f"bytes={offset}-"
        url = self._url(remote.file)
        with (
            self._failures(remote.file),
            get_session().stream("GET", url, headers=headers, timeout=self._seconds) as response,
        ):
            if response.status_code != HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                hf_raise_for_status(response)
            yield Body(_start(response, offset, remote.size), response.iter_raw())

    def link(self, file: HubFile, cache: Path) -> None:
        """Make the shared cache show a file whose bytes are already in it.

        Raises:
            HubUnreachable, AccessDenied, NotOnHub, NotCached: as they say.
        """
        with self._failures(file):
            hf_hub_download(
                file.repository,
                file.filename,
                revision=file.revision,
                cache_dir=cache,
                endpoint=self.endpoint,
                etag_timeout=self._seconds,
                library_name=_LIBRARY,
                library_version=version(_LIBRARY),
            )

    @property
    def is_offline(self) -> bool:
        """Whether nobody may be asked."""
        return self.offline or constants.is_offline_mode()

    @property
    def _seconds(self) -> float:
        return self.timeout or constants.HF_HUB_DOWNLOAD_TIMEOUT

    @property
    def _host(self) -> str:
        return self.endpoint or constants.ENDPOINT

    def _url(self, file: HubFile) -> str:
        return hf_hub_url(
            file.repository, file.filename, revision=file.revision, endpoint=self.endpoint
        )

    @contextmanager
    def _failures(self, file: HubFile) -> Iterator[None]:
        if self.is_offline:
            raise NotCached(file.address, "it is not on this disk, and nobody may be asked for it")
        try:
            yield
        except HfHubHTTPError as error:
            raise self._refusal(error, file) from error
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise HubUnreachable(self._host, self._trouble(error)) from error
        except LocalEntryNotFoundError as error:
            raise HubUnreachable(self._host, "no answer") from error

    def _refusal(self, error: HfHubHTTPError, file: HubFile) -> DownloadFailed:
        status = error.response.status_code
        match status:
            case 401:
                reason = "the hub answers 401: it is private, or there is no such repository"
                return AccessDenied(file.repository, reason)
            case 403 if isinstance(error, GatedRepoError):
                page = f"{self._host}/{file.repository}"
                return AccessDenied(file.repository, f"its terms have to be accepted at {page}")
            case 403:
                return AccessDenied(file.repository, "the hub answers 403: not with this token")
            case 404:
                return self._absence(error, file)
            case _:
                return HubUnreachable(self._host, f"the hub answers {status}")

    def _absence(self, error: HfHubHTTPError, file: HubFile) -> NotOnHub:
        if isinstance(error, RevisionNotFoundError):
            return NotOnHub(file.repository, f"it has no revision {file.revision}")
        if not isinstance(error, RemoteEntryNotFoundError):
            return NotOnHub(file.repository, "there is no such repository")
        names = self._models_in(file)
        others = f"; it has {', '.join(names)}" if names else ""
        return NotOnHub(file.repository, f"it has no file {file.filename}{others}")

    def _models_in(self, file: HubFile) -> list[str]:
        """The GGUF files of the repository, if the hub tells: a courtesy inside an error."""
        from huggingface_hub import HfApi  # slow to import, and rarely needed

        api = HfApi(endpoint=self.endpoint)
        try:
            info = api.model_info(file.repository, revision=file.revision, timeout=self._seconds)
        except httpx2.HTTPError:
            return []
        names = (sibling.rfilename for sibling in info.siblings or ())
        return [name for name in names if name.lower().endswith(".gguf")]

    def _trouble(self, error: httpx2.HTTPError | httpx2.InvalidURL) -> str:
        match error:
            case httpx2.InvalidURL() | httpx2.UnsupportedProtocol():
                return "this is no address of a hub"
            case httpx2.TimeoutException():
                return f"nothing was heard for {self._seconds:g} s"
            case httpx2.ConnectError() | httpx2.ProxyError():
                return "no connection"
            case httpx2.TransportError():
                return "the connection broke"
            case httpx2.HTTPError():
                return "the answer made no sense"
            case _:
                assert_never(error)


def _start(response: httpx2.Response, offset: int, size: int) -> int | None:
    """Where the body begins, going by what the answer says of itself, not by what was asked.

    A body that is not the file's rest from `offset` on, or the whole file, must not be used: joined
    to what is there it would make a file that may even load, and talk nonsense.
    """
    headers = response.headers
    if response.status_code == HTTPStatus.PARTIAL_CONTENT:
        wanted = f"bytes {offset}-{size - 1}/{size}"
        return offset if offset and headers.get("Content-Range") == wanted else None
    whole = headers.get("Content-Length", str(size)) == str(size)
    return 0 if response.status_code == HTTPStatus.OK and whole else None
