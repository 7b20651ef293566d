"""Tekken at any size: Mistral's first ranks and control tokens, for GGUF and for mistral_common.

The ranks come from the vocabulary that mistral_common's wheel carries. A smaller vocabulary is a
prefix of the real one, so ids, merges and control tokens are those of Mistral Small 3.2.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mistral_common
from gguf import TokenType
from mistral_common.protocol.instruct.validator import ValidationMode
from mistral_common.tokens.tokenizers.mistral import MistralTokenizer

if TYPE_CHECKING:
    from gguf import GGUFWriter

NUM_SPECIAL = 1000
FULL_SIZE = 131_072
TOY_SIZE = 4096
_NAMED = {
    **dict(
        enumerate(
            [
                "<unk>",
                "<s>",
                "</s>",
                "[INST]",
                "[/INST]",
                "[AVAILABLE_TOOLS]",
                "[/AVAILABLE_TOOLS]",
                "[TOOL_RESULTS]",
                "[/TOOL_RESULTS]",
                "[TOOL_CALLS]",
                "[IMG]",
                "<pad>",
                "[IMG_BREAK]",
                "[IMG_END]",
                "[PREFIX]",
                "[MIDDLE]",
                "[SUFFIX]",
                "[SYSTEM_PROMPT]",
                "[/SYSTEM_PROMPT]",
                "[TOOL_CONTENT]",
            ]
        )
    ),
    32: "[ARGS]",
    33: "[CALL_ID]",
}
SPECIAL_TOKENS = tuple(_NAMED.get(id_, f"<SPECIAL_{id_}>") for id_ in range(NUM_SPECIAL))


@dataclass(frozen=True)
class Tekken:
    """The first `size` ids, control tokens included."""

    size: int = TOY_SIZE

    @cached_property
    def tokens(self) -> list[bytes]:
        """Bytes of the ids from NUM_SPECIAL on, best rank first."""
        vocab = _published()["vocab"][: self.size - NUM_SPECIAL]
        return [base64.b64decode(entry["token_bytes"]) for entry in vocab]

    def oracle(self, folder: Path) -> Any:
        """mistral_common's own v11 tokenizer over these ids; its file is written into `folder`."""
        published = _published()
        config = published["config"] | {"version": "v11", "default_vocab_size": self.size}
        special = [
            {"rank": id_, "token_str": name, "is_control": True}
            for id_, name in enumerate(SPECIAL_TOKENS)
        ]
        image = {"image_patch_size": 14, "max_image_size": 1540, "spatial_merge_size": 2}
        path = folder / f"tekken-{self.size}.json"
        content = {
            "config": config,
            "vocab": published["vocab"][: self.size - NUM_SPECIAL],
            "special_tokens": special,
            "image": image,
        }
        path.write_text(json.dumps(content), encoding="utf-8")
        return MistralTokenizer.from_file(path, mode=ValidationMode.serving)

    def write(self, writer: GGUFWriter) -> None:
        """Add the vocabulary's keys to a GGUF."""
        spelt = [_spelt(token) for token in self.tokens]
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre("tekken")
        writer.add_token_list([*SPECIAL_TOKENS, *spelt])
        writer.add_token_types([TokenType.CONTROL] * NUM_SPECIAL + [TokenType.NORMAL] * len(spelt))
        writer.add_token_merges(self._merges())
        writer.add_bos_token_id(1)
        writer.add_eos_token_id(2)
        writer.add_unk_token_id(0)
        writer.add_pad_token_id(11)
        writer.add_add_bos_token(True)
        writer.add_add_eos_token(False)

    def _merges(self) -> list[str]:
        """Every split of a token into two others, in the order of the token's rank."""
        known = set(self.tokens)
        return [
            f"{_spelt(token[:at])} {_spelt(token[at:])}"
            for token in self.tokens
            for at in range(1, len(token))
            if token[:at] in known and token[at:] in known
        ]


def _published() -> dict[str, Any]:
    path = Path(mistral_common.__file__).parent / "data" / "tekken_240911.json"
    loaded: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return loaded


def _alphabet() -> list[str]:
    """GPT-2's letter for each byte: itself where it can be seen, one from 256 on where not."""
    seen = [*range(33, 127), *range(161, 173), *range(174, 256)]
    unseen = iter(range(256, 512))
    return [chr(byte if byte in seen else next(unseen)) for byte in range(256)]


_LETTERS = _alphabet()


def _spelt(token: bytes) -> str:
    return "".join(_LETTERS[byte] for byte in token)
