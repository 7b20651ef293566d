"""`POST /v1/completions`: text in, what follows it out; with `echo`, how likely the text was."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response

from mistral_small_edge.server.answering import respond
from mistral_small_edge.server.fields import refuse_unknown
from mistral_small_edge.server.service import Service, service_of
from mistral_small_edge.server.wire_answer import Head
from mistral_small_edge.server.wire_text import CompletionRequest, TextShape

router = APIRouter(tags=["completions"])


@router.post("/v1/completions")
@router.post("/api/v1/completions", include_in_schema=False)
async def completions(
    request: Request, body: CompletionRequest, service: Annotated[Service, Depends(service_of)]
) -> Response:
    """Go on with a text."""
    headers = refuse_unknown(body, lenient=service.config.lenient)
    llm = service.llm(body.model)
    requests = body.requests(llm.default_sampling, service.admission.slots)
    echoed = requests if body.echo else []
    prompts = [await asyncio.to_thread(llm.prompt_tokens, one) for one in echoed]
    shape = TextShape(
        Head.new("cmpl", body.model, llm.fingerprint),
        body.logprobs is not None,
        body.include_usage,
        prompts,
        body.max_tokens == 0,
        llm.decode,
    )
    return await respond(
        request, service, llm, requests, shape, stream=bool(body.stream), headers=headers
    )
