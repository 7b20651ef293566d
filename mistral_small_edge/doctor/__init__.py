"""What there is to know of this machine, this installation and its models, before anybody is asked.

Small probes, each of which returns one section: facts, and findings that say what to do. They take
what they look at as arguments (`/` is one of them), change nothing, and print nothing. What leaves
this room in a report has passed `privacy.py`.
"""

from mistral_small_edge.doctor.examination import Surroundings, examine
from mistral_small_edge.doctor.report import Fact, Finding, Report, Section

__all__ = ["Fact", "Finding", "Report", "Section", "Surroundings", "examine"]
