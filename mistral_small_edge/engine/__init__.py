"""What is computed: token ids in, token outputs out.

Pure Python over ints; pictures go through it unopened. Knows no roles, no tools, no HTTP and no llama.cpp: what it needs of a
model it asks of the Protocols in `backend.py`.
"""
