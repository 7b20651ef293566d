"""Our server beside llama.cpp's own: what `scripts/compare` is made of.

Both are asked over HTTP, as a client would, and timed by the client's clock. Nothing here knows
how either of them computes, and nothing of the package imports it.
"""
