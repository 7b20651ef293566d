"""What is said: messages in, prompt chunks out; text in, deltas out.

Pure Python: no llama.cpp, no I/O, no threads, no token ids.
"""
