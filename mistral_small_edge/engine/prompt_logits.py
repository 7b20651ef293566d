"""What the model made of whole prompts: who asks the same again draws the first token at once.

The rows of such a prompt are in a slot, but no logits: without these its last rows would be computed
again for nothing else, which for a seeded answer is a chunk of its class and takes as long as some steps.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mistral_small_edge.engine.backend import Logits

_KEPT = 8  # prompts: 4 MB at 131,072 ids


class PromptLogits:
    """The logits behind the last prompts that were read, by their digests."""

    def __init__(self, most: int = _KEPT) -> None:
        self._most = most
        self._kept: OrderedDict[bytes, tuple[Logits, bool]] = OrderedDict()

    def keep(self, digest: bytes, logits: Logits, *, exact: bool) -> None:
        """Keep what is behind a prompt; `exact`: prefill alone has computed it."""
        known = self._kept.pop(digest, None)
        self._kept[digest] = known if known is not None and known[1] else (logits, exact)
        if len(self._kept) > self._most:
            self._kept.popitem(last=False)

    def find(self, digest: bytes, *, exact: bool) -> Logits | None:
        """What is behind that prompt, if it is known.

        Args:
            exact: only what prefill alone has computed.
        """
        known = self._kept.get(digest)
        if known is None or (exact and not known[1]):
            return None
        self._kept.move_to_end(digest)
        return known[0]
