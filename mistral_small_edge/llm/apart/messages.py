"""What the two processes tell each other: frozen values, pickled.

One sends an Order, and then calls; the other Reading and Trying until it has Facts or has Failed,
then outputs and results.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from mistral_small_edge.engine.outputs import Output
    from mistral_small_edge.errors import EdgeError
    from mistral_small_edge.llm.loading import Facts, Order

Method = Literal["submit", "time_bare_loop", "keep_threads", "peak_memory"]


@dataclass(frozen=True, slots=True)
class Begin:
    """Load this; send log records from `log_level` on."""

    order: Order
    log_level: int


@dataclass(frozen=True, slots=True)
class Call:
    """Call a method of Computing; what `submit` begins goes by the call's number."""

    number: int
    method: Method
    arguments: tuple[object, ...]


@dataclass(frozen=True, slots=True)
class Abort:
    """The answer that the call `number` began is not wanted any more."""

    number: int


@dataclass(frozen=True, slots=True)
class Stop:
    """End in good order."""


ToChild = Begin | Call | Abort | Stop


@dataclass(frozen=True, slots=True)
class Reading:
    """How much of the weights is read, 0 to 1."""

    done: float


@dataclass(frozen=True, slots=True)
class Trying:
    """How much of the machine's trial is done, 0 to 1."""

    done: float


@dataclass(frozen=True, slots=True)
class Ready:
    """The model is loaded."""

    facts: Facts


@dataclass(frozen=True, slots=True)
class Failed:
    """It could not be loaded."""

    error: EdgeError


@dataclass(frozen=True, slots=True)
class Returned:
    """What a call has returned."""

    number: int
    value: object


@dataclass(frozen=True, slots=True)
class Raised:
    """What a call has raised."""

    number: int
    error: EdgeError


@dataclass(frozen=True, slots=True)
class Outputs:
    """What the engine has to say of the answer that the call `number` began."""

    number: int
    outputs: tuple[Output, ...]


@dataclass(frozen=True, slots=True)
class Logged:
    """A record of the log."""

    name: str
    level: int
    text: str


@dataclass(frozen=True, slots=True)
class LastWords:
    """The process is about to end: why, and which workers are connected no more."""

    words: str
    workers: tuple[str, ...]


FromChild = Reading | Trying | Ready | Failed | Returned | Raised | Outputs | Logged | LastWords
