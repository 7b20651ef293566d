"""A model behind a server of this program, spoken to over HTTP: requests out, deltas in.

The server's own interface and nothing else, read from the other side. Nothing here computes, and nothing
here loads llama.cpp.
"""
