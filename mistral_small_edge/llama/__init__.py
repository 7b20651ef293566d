"""What is linked: the only rooms that import llama.cpp's bindings.

They fulfil `engine/backend.py` with llama.cpp's low-level functions. Nothing outside speaks of
contexts, batches or sequence ids.
"""
