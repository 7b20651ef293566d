"""A process that lets llama.cpp look at a small picture through projectors, some of them wrong.

    python -m tests.gguf.projector_child MODEL PROJECTOR...

For every projector one line on stdout: `seen`, `not loaded`, `not seen`, or `died`. Each is tried
in a fork of its own, so that one that takes the process down does not keep the next from its turn.
"""

from __future__ import annotations

import ctypes
import os
import resource
import sys
from typing import Any

from llama_cpp import llama_cpp as lib
from llama_cpp import mtmd_cpp as mtmd

SIDE = 56  # pixels: two cells each way, so that there is a row break
OUTCOMES = ("seen", "not loaded", "not seen")


@lib.llama_log_callback  # type: ignore[untyped-decorator]
def _quiet(_level: int, _text: bytes, _user: object) -> None:
    pass


def look(model: Any, projector: str) -> str:
    """Load a projector and look at a gray square."""
    params = mtmd.mtmd_context_params_default()
    params.use_gpu = params.print_timings = params.warmup = False
    params.n_threads = 1
    params.flash_attn_type = lib.LLAMA_FLASH_ATTN_TYPE_ENABLED
    params.image_min_tokens, params.image_max_tokens = 1, 3025
    eyes = mtmd.mtmd_init_from_file(projector.encode(), model, params)
    if not eyes:
        return "not loaded"
    bitmap = mtmd.mtmd_bitmap_init(SIDE, SIDE, (ctypes.c_uint8 * (SIDE * SIDE * 3))(*[128] * 9))
    part = mtmd.mtmd_input_part(text=None, bitmap=bitmap)
    parts = (ctypes.POINTER(mtmd.mtmd_input_part) * 1)(ctypes.pointer(part))
    chunks = mtmd.mtmd_input_chunks_init()
    if mtmd.mtmd_tokenize_from_parts(eyes, chunks, parts, 1, False) != 0:
        return "not seen"
    code = mtmd.mtmd_encode_chunk(eyes, mtmd.mtmd_input_chunks_get(chunks, 0))
    return "seen" if code == 0 else "not seen"


def look_apart(model: Any, projector: str) -> str:
    """The same in a fork, which may die of it."""
    child = os.fork()
    if not child:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        os._exit(OUTCOMES.index(look(model, projector)))
    _, status = os.waitpid(child, 0)
    return OUTCOMES[os.WEXITSTATUS(status)] if os.WIFEXITED(status) else "died"


if __name__ == "__main__":
    os.environ["GGML_NO_BACKTRACE"] = "1"  # it would start a debugger for every death
    lib.llama_log_set(_quiet, None)
    mtmd.mtmd_log_set(_quiet, None)
    mtmd.mtmd_helper_log_set(_quiet, None)
    lib.llama_backend_init()
    language = lib.llama_model_load_from_file(
        sys.argv[1].encode(), lib.llama_model_default_params()
    )
    for name in sys.argv[2:]:
        sys.stdout.write(look_apart(language, name) + "\n")
        sys.stdout.flush()
