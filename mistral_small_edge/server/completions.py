"""`POST /v1/completions`: text in, what follows it out; with `echo`, how likely the text was."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response

from mistral_small_edge.server import asked
from mistral_small_edge.server.answering import respond
from mistral_small_edge.server.fields import refuse_unknown
from mistral_small_edge.server.service import Service, service_of
from mistral_small_edge.server.wire_text import CompletionRequest

router = APIRouter(tags=["completions"])


@router.post("/v1/completions")
@router.post("/api/v1/completions", include_in_schema=False)
async def completions(
    request: Request, body: CompletionRequest, service: Annotated[Service, Depends(service_of)]
) -> Response:
    """Go on with a text."""
    headers = refuse_unknown(body, lenient=service.config.lenient)
    llm = service.llm(body.model)
    wanted = await asyncio.to_thread(asked.text, body, llm, service.admission.slots)
    return await respond(request, service, llm, wanted, headers)
