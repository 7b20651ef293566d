"""This machine's memory and cores, lent to a model elsewhere: the other end of `workers/`.

`listening.py` decides where that may be, `tensors.py` keeps what was sent so that it need not be sent
again, `process.py` watches ggml's server in a process of its own, and `child.py` is what runs there.
"""

from mistral_small_edge.lending.listening import Reach, bound, listen_at, reach_of
from mistral_small_edge.lending.process import (
    CacheClosed,
    Came,
    Checking,
    Died,
    Event,
    Gone,
    Listening,
    Offer,
    lend,
)
from mistral_small_edge.lending.tensors import Tensor, Tensors, kept_in

__all__ = [
    "CacheClosed",
    "Came",
    "Checking",
    "Died",
    "Event",
    "Gone",
    "Listening",
    "Offer",
    "Reach",
    "Tensor",
    "Tensors",
    "bound",
    "kept_in",
    "lend",
    "listen_at",
    "reach_of",
]
