"""Which rows that were computed before a prompt may begin with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mistral_small_edge.engine.grid import Grid


@dataclass(frozen=True, slots=True)
class Reuse:
    """What one prompt takes over.

    Attributes:
        limit: at most so many of its leading rows.
        exact: only those that a prefill computed.
        grid: where the next chunk may begin; None for anywhere.
    """

    limit: int
    exact: bool = False
    grid: Grid | None = None

    def of(self, common: int, num_exact: int) -> int:
        """How many of `common` rows, which are the prompt's own, `num_exact` of them from prefill alone."""
        rows = min(common, self.limit, num_exact if self.exact else common)
        return rows if self.grid is None else self.grid.before(rows)
