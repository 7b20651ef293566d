"""Which rows that were computed before a prompt may begin with."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Reuse:
    """What one prompt takes over.

    Attributes:
        limit: at most so many of its leading rows.
        exact: only those that a prefill computed.
    """

    limit: int
    exact: bool = False

    def of(self, common: int, num_exact: int) -> int:
        """How many of `common` rows, which are the prompt's own, `num_exact` of them from prefill alone."""
        return min(common, self.limit, num_exact if self.exact else common)
