"""How fast a loaded model is here, and what our own code costs of it.

Knows a model by `LLM` alone: what it measures is what a caller gets. Prints nothing; only `plot`
writes a file.
"""

from mistral_small_edge.benchmark.answers import measure
from mistral_small_edge.benchmark.depths import Depth, depths_of, measure_depths
from mistral_small_edge.benchmark.report import BenchmarkReport, Round
from mistral_small_edge.benchmark.threads import ThreadSweep, sweep_threads, thread_counts
from mistral_small_edge.benchmark.workload import Workload

__all__ = [
    "BenchmarkReport",
    "Depth",
    "Round",
    "ThreadSweep",
    "Workload",
    "depths_of",
    "measure",
    "measure_depths",
    "sweep_threads",
    "thread_counts",
]
