"""Other machines that lend memory and cores: where they are, what they lend, which layers go where."""

from mistral_small_edge.workers.address import (
    MOST_WORKERS,
    WorkerAddress,
    parse_workers,
    read_workers,
)
from mistral_small_edge.workers.placement import Placement, check_placement, place
from mistral_small_edge.workers.probe import PROTOCOL, Lent, look_at_all, probe, probe_all

__all__ = [
    "MOST_WORKERS",
    "PROTOCOL",
    "Lent",
    "Placement",
    "WorkerAddress",
    "check_placement",
    "look_at_all",
    "parse_workers",
    "place",
    "probe",
    "probe_all",
    "read_workers",
]
