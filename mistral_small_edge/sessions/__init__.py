"""Saved conversations: a file of lines for each, and the pictures that were shown.

`session.py` and `events.py` are pure: what a session is, and what can happen to it. `journal.py` is
one file, `pictures.py` the pictures of all, `shelf.py` the folder. Knows no model and no screen.
"""

from mistral_small_edge.sessions.journal import Journal, Reading
from mistral_small_edge.sessions.session import Session
from mistral_small_edge.sessions.shelf import Shelf

__all__ = ["Journal", "Reading", "Session", "Shelf"]
