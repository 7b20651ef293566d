"""What traffic takes on a network: so many bytes a second, and a while until what was asked is there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from scripts.wire.tap import Traffic


@dataclass(frozen=True, slots=True)
class Network:
    """`rate` is in bytes a second, `round_trip` in seconds: of a small question, answered at once."""

    name: str
    rate: float
    round_trip: float

    def seconds(self, traffic: Traffic) -> float:
        """What it takes, all of it one after the other."""
        return traffic.waits * self.round_trip + (traffic.there + traffic.back) / self.rate


# What is left for programs of a gigabit, and of a Wi-Fi in the same room: assumed, not measured.
NETWORKS = (
    Network("1 GbE", 118e6, 0.0002),
    Network("2.5 GbE", 295e6, 0.0002),
    Network("Wi-Fi", 30e6, 0.003),
)
