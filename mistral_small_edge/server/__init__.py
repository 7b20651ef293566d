"""The local server's door: OpenAI's HTTP interface over one LLM, on FastAPI.

HTTP and JSON only. What a field means is decided in `chat` and `sampling_params`; here it gets its
wire name, and errors get their status.
"""
