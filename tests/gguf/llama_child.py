"""A process that may die: loads GGUF files with bare llama.cpp and decodes a few tokens.

    python -m tests.gguf.llama_child load FILE...            every file, as it is
    python -m tests.gguf.llama_child mutate FILE FIRST COUNT damage that read_header lets through
    python -m tests.gguf.llama_child fill FILE CONTEXT KV    a conversation of that many tokens

What it is about to try goes to stdout first, so that the last line of a dead child tells; the
last line of all is the most memory that was resident.
"""

from __future__ import annotations

import importlib
import random
import resource
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from llama_cpp import llama_cpp as lib

from mistral_small_edge.errors import ModelLoadFailed
from mistral_small_edge.gguf import read_header
from mistral_small_edge.memory import choose_flash_attention
from tests.gguf.mutations import Original, mutate

if TYPE_CHECKING:
    from mistral_small_edge.config import KVType

FILL_CHUNK = 512
_KV_TYPES = {"f16": lib.GGML_TYPE_F16, "q8_0": lib.GGML_TYPE_Q8_0}
TEXT = "Hello wörld, the 42nd \n\t😀 <s><|im_end|>".encode()


@lib.llama_log_callback  # type: ignore[untyped-decorator]
def _quiet(_level: int, _text: bytes, _user: object) -> None:
    pass


def attempt(path: Path, *, flash_attention: bool) -> str:
    """Load, tokenize, decode; `decoded` or the step that llama.cpp refused to take."""
    params = lib.llama_model_default_params()
    params.load_mode = lib.LLAMA_LOAD_MODE_MMAP
    model = lib.llama_model_load_from_file(str(path).encode(), params)
    if not model:
        return "not loaded"
    context = lib.llama_init_from_model(model, _context_params(flash_attention))
    try:
        return _decode(lib.llama_model_get_vocab(model), context) if context else "no context"
    finally:
        if context:
            lib.llama_free(context)
        lib.llama_model_free(model)


def _context_params(flash_attention: bool) -> Any:
    params = lib.llama_context_default_params()
    params.n_ctx = 256
    params.n_batch = params.n_ubatch = 64
    params.n_outputs_max = params.n_threads = params.n_threads_batch = 1
    params.flash_attn_type = (
        lib.LLAMA_FLASH_ATTN_TYPE_ENABLED if flash_attention else lib.LLAMA_FLASH_ATTN_TYPE_DISABLED
    )
    return params


def _decode(vocabulary: Any, context: Any) -> str:
    ids = (lib.llama_token * 64)()
    for special in (True, False):
        count = lib.llama_tokenize(vocabulary, TEXT, len(TEXT), ids, 64, special, special)
    piece = lib.create_string_buffer(64) if hasattr(lib, "create_string_buffer") else None
    for token in range(lib.llama_vocab_n_tokens(vocabulary)):
        lib.llama_vocab_get_text(vocabulary, token)
        lib.llama_token_to_piece(vocabulary, token, piece, 0, 0, False)
    if count <= 0:
        return "no tokens"
    prompt = lib.llama_decode(context, lib.llama_batch_get_one(ids, count))
    one = lib.llama_decode(context, lib.llama_batch_get_one(ids, 1))
    return "decoded" if prompt == one == 0 else "not decoded"


def _mutate(path: Path, first: int, count: int) -> None:
    original = Original.of(path)
    with tempfile.TemporaryDirectory() as directory:
        target = Path(directory) / "mutated.gguf"
        for seed in range(first, first + count):
            data, description = mutate(original, random.Random(seed))
            target.write_bytes(data)
            _say(f"mutation {seed}: {description}")
            try:
                read_header(target)
            except ModelLoadFailed:
                continue
            _say(attempt(target, flash_attention=seed % 2 == 0))


def _fill(path: Path, context_length: int, kv_type: KVType) -> None:
    importlib.import_module("mistral_small_edge.cli.app")  # the program around it counts too
    importlib.import_module("mistral_small_edge.llm")
    params = lib.llama_model_default_params()
    params.load_mode = lib.LLAMA_LOAD_MODE_MMAP
    model = lib.llama_model_load_from_file(str(path).encode(), params)
    flash_attention = choose_flash_attention(
        read_header(path),
        context_length=context_length,
        kv_type=kv_type,
        prefill_chunk=FILL_CHUNK,
        wanted="auto",
    )
    options = _context_params(flash_attention)
    options.n_ctx, options.n_batch, options.n_ubatch = context_length, FILL_CHUNK, FILL_CHUNK
    options.type_k = options.type_v = _KV_TYPES[kv_type]
    context = lib.llama_init_from_model(model, options)
    ids = (lib.llama_token * FILL_CHUNK)(*range(100, 100 + FILL_CHUNK))
    for _ in range(0, context_length, FILL_CHUNK):
        assert lib.llama_decode(context, lib.llama_batch_get_one(ids, FILL_CHUNK)) == 0


def _peak() -> int:
    """Bytes that were resident at most; getrusage would include the process that started us."""
    status = Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    lib.llama_log_set(_quiet, None)
    lib.llama_backend_init()
    mode, file, *rest = sys.argv[1:]
    match mode:
        case "load":
            for name in (file, *rest):
                _say(attempt(Path(name), flash_attention=False))
        case "mutate":
            _mutate(Path(file), *map(int, rest))
        case "fill":
            (length, kind) = rest
            _fill(Path(file), int(length), cast("KVType", kind))
    _say(f"peak {_peak()}")
