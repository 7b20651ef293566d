"""What somewhere holds of a prompt: the numbers of its rows, and which of them a prefill computed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mistral_small_edge.engine.prefix_cache import common_prefix

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mistral_small_edge.engine.reuse import Reuse

MIN_ROWS = 128  # fewer are soon computed


@dataclass(frozen=True, slots=True)
class Prefix:
    """`rows` are an identity, as in `Prompt`; the first `num_exact` came from prefill alone."""

    rows: Sequence[int]
    num_exact: int

    def usable(self, prompt: Sequence[int], reuse: Reuse) -> int:
        """How many of the prompt's leading rows can be taken from it."""
        return reuse.of(common_prefix(self.rows, prompt), self.num_exact)

    def lacks(self, rows: Sequence[int], num_exact: int) -> int:
        """How many more could be read back if these rows were there, too."""
        common = common_prefix(self.rows, rows)
        return max(len(rows) - common, num_exact - min(common, self.num_exact))

    def begins(self, rows: Sequence[int], num_exact: int) -> bool:
        """Whether it holds no more than a beginning of these."""
        return self.num_exact <= num_exact and common_prefix(self.rows, rows) == len(self.rows)
