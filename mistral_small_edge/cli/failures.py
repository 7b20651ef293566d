"""How each error looks in a terminal: its sentence, the next thing to type, an exit code.

One table, error class to Face, searched along the class's ancestry; a test walks the exception
tree and fails if a leaf has no row of its own. Exit codes: 0 answered, 1 failed, 2 wrong usage,
130 interrupted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mistral_small_edge import errors

if TYPE_CHECKING:
    from collections.abc import Mapping

PROGRAM = "mistral-small-edge"
FAILED = 1
USAGE = 2
INTERRUPTED = 130


@dataclass(frozen=True, slots=True)
class Face:
    """`hint` may name the error's attributes in braces; it is one line, starting with a verb."""

    hint: str
    exit_code: int = FAILED


FACES: Mapping[type[errors.EdgeError], Face] = {
    errors.InvalidRequest: Face("", USAGE),
    errors.InvalidGrammar: Face("", USAGE),
    errors.UnsupportedImage: Face(""),
    errors.NoProjector: Face(
        f"Fetch it, if there is one: {PROGRAM} download {{model}}; or name your own: --mmproj FILE."
    ),
    errors.ContextLengthExceeded: Face(
        "Shorten the prompt, or give more room: --context {prompt_tokens} or more; "
        "pictures take less with --image-detail low."
    ),
    errors.AnswerCutShort: Face("Give it more room: --max-tokens."),
    errors.ModelNotFound: Face(f"See what there is: {PROGRAM} models"),
    errors.PackageMissing: Face("Install it: pip install --no-deps {requirement}"),
    errors.HubUnreachable: Face(
        "Check the connection (HF_ENDPOINT, proxy) and repeat the command: it goes on where it was."
    ),
    errors.AccessDenied: Face(
        "Set HF_TOKEN to a token that may read it: https://huggingface.co/settings/tokens"
    ),
    errors.NotOnHub: Face(f"See what there is: {PROGRAM} models"),
    errors.NotCached: Face(f"Fetch it while online: {PROGRAM} download {{source}}"),
    errors.DiskFull: Face(
        f"Free some space, or put it elsewhere: {PROGRAM} download {{source}} --to DIR"
    ),
    errors.CannotWrite: Face(f"Put it elsewhere: {PROGRAM} download {{source}} --to DIR"),
    errors.ChecksumMismatch: Face("Repeat the download; the damaged file was set aside."),
    errors.NotEnoughMemory: Face(
        f"See what fits: {PROGRAM} plan; or try --context, --kv-type q8_0, --no-vision, or insist with "
        "--force."
    ),
    errors.NotEnoughTogether: Face(
        f"See what fits: {PROGRAM} plan --worker; or add a worker, try --context, --kv-type q8_0, "
        "--no-vision, or insist with --force."
    ),
    errors.ModelLoadFailed: Face(f"Check it: {PROGRAM} models verify"),
    errors.QuantizeFailed: Face("Repeat the command with --verbose to see llama.cpp's own log."),
    errors.SessionNotFound: Face(f"See what there is: {PROGRAM} sessions list"),
    errors.SessionInUse: Face("Leave it there first, or begin another."),
    errors.SessionDamaged: Face("Mend the file or move it away; nothing in it was changed."),
    errors.SessionUnreachable: Face(
        "Make room, or put sessions elsewhere: MISTRAL_SMALL_EDGE_DATA=DIR."
    ),
    errors.ResultsNotKept: Face("Make room and repeat the command: it goes on where it was."),
    errors.ServerUnreachable: Face(f"Start one: {PROGRAM} serve; or load the model here: --local."),
    errors.ServerLocked: Face("Set MISTRAL_SMALL_EDGE_API_KEY to a key that it knows."),
    errors.ServerFailed: Face("Look at what the server said, and repeat the command."),
    errors.WorkerUnreachable: Face(f"Start it there: {PROGRAM} worker; or leave it out."),
    errors.WorkerBusy: Face("End what uses it, or start the worker anew."),
    errors.WorkerIncompatible: Face("Install the same version of this program on both machines."),
    errors.WorkerTooSmall: Face("Leave it out, or take a smaller --context."),
    errors.WorkerFailed: Face("Repeat the command with --verbose to see llama.cpp's own log."),
    errors.WorkerLost: Face("See to that machine, and ask again."),
    errors.EngineLoading: Face("Repeat it in {retry_after} seconds."),
    errors.EngineTimeout: Face("Ask for less, or grant more time."),
    errors.EngineOverloaded: Face("Repeat it in {retry_after} seconds."),
    errors.EngineStopped: Face("Repeat the command with --verbose to see llama.cpp's own log."),
    errors.EncodeFailed: Face("Repeat the command with --verbose to see llama.cpp's own log."),
    errors.DecodeFailed: Face("Repeat the command with --verbose to see llama.cpp's own log."),
}


def face_of(error: errors.EdgeError) -> Face:
    """The row for the error's class, or for the nearest ancestor that has one."""
    for cls in type(error).__mro__:
        if cls in FACES:
            return FACES[cls]
    return Face("")


def hint_for(error: errors.EdgeError) -> str:
    """The row's hint with the error's facts filled in."""
    return face_of(error).hint.format_map(vars(error))
