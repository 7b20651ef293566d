"""An engine in a process of its own: what takes that down takes nobody else along.

ggml's client of workers ends its process when a worker is gone. Here requests that were running then
are told whose fault it was, and the engine comes back when the worker does.
"""

from mistral_small_edge.llm.apart.apart import Apart, load_apart

__all__ = ["Apart", "load_apart"]
