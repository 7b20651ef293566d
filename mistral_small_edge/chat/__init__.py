"""What is said: messages in, prompt chunks out; text in, deltas out.

Pure Python: no llama.cpp, no I/O, no threads; token ids only where a caller sends them as a prompt.
"""
