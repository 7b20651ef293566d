"""A hub on loopback that speaks what huggingface_hub asks for, and misbehaves on request.

Metadata and bodies come from two origins, as with the real one: the hub redirects a large file to a
storage host (`localhost` here, another name than the hub's), which must never see a token. Every
connection is closed after one answer, so nothing outlives a test.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import repeat
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from types import TracebackType

COMMIT = "0123456789abcdef0123456789abcdef01234567"
_BLOCK = 1 << 16
_PATIENCE = 20.0  # seconds; only a broken program takes that long


@dataclass(frozen=True)
class Fault:
    """What goes wrong with one answer that carries a file's bytes.

    Attributes:
        cut_after: close the connection after so many bytes of it.
        stall_after: after so many bytes send nothing more, until the hub is closed or released.
        flip_at: which byte of the file is not what it should be.
        ignores_range: answer 200 with the whole file, whatever was asked.
        content_range: claim this range in an answer to a range request.
        status: answer with this instead.
    """

    cut_after: int | None = None
    stall_after: int | None = None
    flip_at: int | None = None
    ignores_range: bool = False
    content_range: str | None = None
    status: int | None = None


@dataclass(frozen=True)
class Asked:
    """One request, as it came."""

    method: str
    path: str
    headers: dict[str, str]


@dataclass(frozen=True)
class HubContent:
    """A published file; without LFS the hub knows no sha256 of it. `size` is what it says."""

    content: bytes
    lfs: bool
    size: int
    etag: str


@dataclass
class FakeHub:
    """Use as a context manager; add files and faults at any time.

    Attributes:
        token: what a request must carry as its bearer token, if anything.
        status: answer every question about a file with this (and `error_code`).
        served: bytes of bodies that were sent so far.
    """

    token: str | None = None
    status: int | None = None
    error_code: str | None = None
    asked: list[Asked] = field(default_factory=list)
    served: int = 0

    def __post_init__(self) -> None:
        self._files: dict[tuple[str, str], HubContent] = {}
        self._faults: Iterator[Fault] = iter(())
        self._change = threading.Condition()
        self._released = threading.Event()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.hub = self
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def storage_url(self) -> str:
        return f"http://localhost:{self._server.server_address[1]}"

    def environment(self, home: Path) -> dict[str, str]:
        """What a process needs to use this hub, no other, and nobody's files but its own."""
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "HF_HOME": str(home / "huggingface"),
            "XDG_CACHE_HOME": str(home / "cache"),
            "HF_ENDPOINT": self.url,
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "NO_PROXY": "127.0.0.1,localhost",
            "TERM": "xterm",
        }

    def add(
        self,
        repository: str,
        filename: str,
        content: bytes,
        *,
        lfs: bool = True,
        size: int | None = None,
    ) -> str:
        """Publish a file; returns the id that the hub knows it by."""
        algorithm = hashlib.sha256 if lfs else hashlib.sha1
        etag = algorithm(content, usedforsecurity=False).hexdigest()
        size = len(content) if size is None else size
        self._files[repository, filename] = HubContent(content, lfs, size, etag)
        return etag

    def find(self, repository: str, filename: str) -> HubContent | None:
        return self._files.get((repository, filename))

    def filenames(self, repository: str) -> list[str]:
        return [name for owner, name in self._files if owner == repository]

    def stored(self, etag: str) -> HubContent:
        return next(each for each in self._files.values() if each.etag == etag)

    def bodies(self) -> list[Asked]:
        """The requests for a file's bytes."""
        return [each for each in self.asked if each.path.startswith("/storage/")]

    def wait_served(self, count: int) -> None:
        """Until so many bytes were sent."""
        with self._change:
            assert self._change.wait_for(lambda: self.served >= count, _PATIENCE)

    def release(self) -> None:
        """Let stalled answers go on."""
        self._released.set()

    def go_wrong(self, *faults: Fault) -> None:
        """One fault for each of the next answers with bytes; then all is well again."""
        self._faults = iter(faults)

    def stay_wrong(self, fault: Fault) -> None:
        """The same fault for every answer with bytes from now on."""
        self._faults = repeat(fault)

    def next_fault(self) -> Fault:
        with self._change:
            return next(self._faults, Fault())

    def count(self, sent: int) -> None:
        with self._change:
            self.served += sent
            self._change.notify_all()

    def note(self, request: Asked) -> None:
        with self._change:
            self.asked.append(request)

    def stall(self) -> None:
        assert self._released.wait(_PATIENCE)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(_PATIENCE)


class _Server(ThreadingHTTPServer):
    daemon_threads = False  # closing the server waits for the answers under way
    hub: FakeHub

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up is what some tests are about."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's
        """Silent."""

    def _answer(self) -> None:
        hub = self.server.hub
        headers = {key.lower(): value for key, value in self.headers.items()}
        hub.note(Asked(self.command, self.path, headers))
        if self.path.startswith("/storage/"):
            self._send_body(hub, hub.stored(self.path.removeprefix("/storage/")))
        elif hub.status is not None:
            self._reply(hub.status, {"X-Error-Code": hub.error_code} if hub.error_code else {})
        elif hub.token is not None and headers.get("authorization") != f"Bearer {hub.token}":
            self._reply(401, {"X-Error-Message": "Invalid username or password."})
        elif self.path.startswith("/api/models/"):
            self._send_info(hub)
        else:
            self._resolve(hub)

    def _send_info(self, hub: FakeHub) -> None:
        repository = "/".join(self.path.split("?")[0].split("/")[3:5])
        files = [{"rfilename": name} for name in hub.filenames(repository)]
        info = {"id": repository, "sha": COMMIT, "siblings": files}
        self._reply(200, {"Content-Type": "application/json"}, json.dumps(info).encode())

    def _resolve(self, hub: FakeHub) -> None:
        place, _, rest = self.path.lstrip("/").partition("/resolve/")
        revision, _, filename = rest.partition("/")
        if not hub.filenames(place):
            self._reply(404, {"X-Error-Code": "RepoNotFound"})
            return
        if revision not in ("main", COMMIT):
            self._reply(404, {"X-Error-Code": "RevisionNotFound"})
            return
        file = hub.find(place, filename)
        if file is None:
            self._reply(404, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT})
        elif file.lfs:
            self._reply(
                302,
                {
                    "X-Repo-Commit": COMMIT,
                    "X-Linked-Etag": f'"{file.etag}"',
                    "X-Linked-Size": str(file.size),
                    "Location": f"{hub.storage_url}/storage/{file.etag}",
                },
            )
        else:
            known = {"X-Repo-Commit": COMMIT, "ETag": f'"{file.etag}"'}
            self._reply(200, known, file.content)

    def _send_body(self, hub: FakeHub, file: HubContent) -> None:
        fault = hub.next_fault()
        if fault.status is not None:
            self._reply(fault.status, {})
            return
        content, begin = bytearray(file.content), self._range_start()
        if fault.flip_at is not None:
            content[fault.flip_at] ^= 1
        total = len(content)
        if begin is None or fault.ignores_range:
            self._start(200, {"Content-Length": str(total)})
            begin = 0
        elif begin >= total:
            self._reply(416, {"Content-Range": f"bytes */{total}"})
            return
        else:
            claim = fault.content_range or f"bytes {begin}-{total - 1}/{total}"
            self._start(206, {"Content-Length": str(total - begin), "Content-Range": claim})
        self._pour(hub, fault, bytes(content[begin:]))

    def _pour(self, hub: FakeHub, fault: Fault, body: bytes) -> None:
        stops = [stop for stop in (fault.cut_after, fault.stall_after) if stop is not None]
        end = min([len(body), *stops])
        for at in range(0, end, _BLOCK):
            block = body[at : min(at + _BLOCK, end)]
            self.wfile.write(block)
            hub.count(len(block))
        if fault.stall_after == end:
            hub.stall()

    def _range_start(self) -> int | None:
        asked = self.headers.get("Range")
        return None if asked is None else int(asked.removeprefix("bytes=").removesuffix("-"))

    def _reply(self, status: int, headers: dict[str, str], body: bytes = b"") -> None:
        self._start(status, {"Content-Length": str(len(body)), **headers})
        if self.command != "HEAD":
            self.wfile.write(body)

    def _start(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Accept-Ranges": "bytes", "Connection": "close"}.items():
            self.send_header(name, value)
        self.end_headers()
