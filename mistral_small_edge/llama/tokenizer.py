"""llama.cpp's vocabulary: text to ids, ids to bytes, control tokens by name."""

from __future__ import annotations

import ctypes
from functools import cached_property
from typing import TYPE_CHECKING, Any

import regex
from llama_cpp import llama_cpp as lib

from mistral_small_edge.errors import InvalidRequest
from mistral_small_edge.llama.tekken import TekkenEncoder

if TYPE_CHECKING:
    from mistral_small_edge.llama.model import Model

# llama.cpp finds words with a call for every character, and a thread's stack has room for some
# 30,000 calls.
_MOST_ALIKE = 10_000
_RUN = regex.compile(r"[\p{L}\p{M}]++|\s++|[^\s\p{L}\p{N}]++|\p{N}++")
_PIECE_BYTES = 64  # most tokens are shorter; a longer one is asked for again


class LlamaTokenizer:
    """Immutable once made; any thread may use it while the model is open."""

    def __init__(self, model: Model) -> None:
        self._vocab = lib.llama_model_get_vocab(model.weights)
        self.vocab_size: int = lib.llama_vocab_n_tokens(self._vocab)
        self._encode = self._encode_guarded
        if _metadata(model.weights, "tokenizer.ggml.pre") == "tekken":
            tekken = TekkenEncoder(self._encode_plain, self.token_bytes, self.vocab_size)
            self._encode = tekken.encode

    @cached_property
    def control_tokens(self) -> dict[str, int]:
        """Every control token's id by its name; no other ids are ever made from a name."""
        return {
            lib.llama_vocab_get_text(self._vocab, token).decode("utf-8", "replace"): token
            for token in range(self.vocab_size)
            if lib.llama_vocab_get_attr(self._vocab, token) & lib.LLAMA_TOKEN_ATTR_CONTROL
        }

    @property
    def bos(self) -> str | None:
        """Name of the token that begins a text; None if the vocabulary has none."""
        return self._name(lib.llama_vocab_bos(self._vocab))

    @property
    def eos(self) -> str | None:
        """Name of the token that ends a text; None if the vocabulary has none."""
        return self._name(lib.llama_vocab_eos(self._vocab))

    @property
    def adds_bos(self) -> bool:
        """Whether a prompt begins with `bos` even if its template does not say so."""
        return bool(lib.llama_vocab_get_add_bos(self._vocab))

    def control_name(self, token: int) -> str:
        """The name of a control token."""
        return self._name(token) or ""

    def encode(self, text: str) -> list[int]:
        """Ids of plain text; control tokens are never read out of it.

        Raises:
            InvalidRequest: the text would take llama.cpp down.
        """
        return self._encode(text)

    def _encode_guarded(self, text: str) -> list[int]:
        if len(text) > _MOST_ALIKE and max(map(len, _RUN.findall(text))) > _MOST_ALIKE:
            raise InvalidRequest(
                f"the text has more than {_MOST_ALIKE} letters, digits, signs or spaces in one run, which "
                "this model's tokenizer does not survive",
                "messages",
            )
        return self._encode_plain(text)

    def _encode_plain(self, text: str) -> list[int]:
        data = text.encode()
        room = len(data) + 8  # a token is at least a byte, but for a prefix some models add
        ids = (lib.llama_token * room)()
        count = lib.llama_tokenize(self._vocab, data, len(data), ids, room, False, False)
        if count < 0:
            raise ValueError(f"{len(data)} bytes became more than {room} tokens")
        return list(ids[:count])

    def token_bytes(self, token: int) -> bytes:
        """What the token adds to the text; empty for control tokens."""
        size = _PIECE_BYTES
        while True:
            buffer = ctypes.create_string_buffer(size)
            count: int = lib.llama_token_to_piece(self._vocab, token, buffer, size, 0, False)
            if count >= 0:
                return buffer.raw[:count]
            size = -count

    def is_control(self, token: int) -> bool:
        """Whether the token is a control token of this vocabulary."""
        return bool(lib.llama_vocab_is_control(self._vocab, token))

    def is_end(self, token: int) -> bool:
        """Whether the token ends an answer (end of sequence, of turn, of message)."""
        return bool(lib.llama_vocab_is_eog(self._vocab, token))

    def _name(self, token: int) -> str | None:
        if token == lib.LLAMA_TOKEN_NULL:
            return None
        name: bytes = lib.llama_vocab_get_text(self._vocab, token)
        return name.decode("utf-8", "replace")


def _metadata(weights: Any, key: str) -> str | None:
    """A text of the file's header; None if it is not there."""
    buffer = ctypes.create_string_buffer(_PIECE_BYTES)
    length = lib.llama_model_meta_val_str(weights, key.encode(), buffer, len(buffer))
    return buffer.value.decode("utf-8", "replace") if length >= 0 else None
