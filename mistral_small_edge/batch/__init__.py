"""A file of requests in OpenAI's batch format, and the file of their results.

Reads, answers and writes; knows no terminal. A request is its custom_id to people and a digest to us: what
was answered once is known again, and is not taken for the answer to another.
"""
