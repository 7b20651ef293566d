"""`POST /v1/chat/completions`: a conversation in, an answer out."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response

from mistral_small_edge.server import asked
from mistral_small_edge.server.answering import respond
from mistral_small_edge.server.fields import refuse_unknown
from mistral_small_edge.server.service import Service, service_of
from mistral_small_edge.server.wire_chat import ChatCompletionRequest

router = APIRouter(tags=["completions"])


@router.post("/v1/chat/completions")
@router.post("/api/v1/chat/completions", include_in_schema=False)
async def chat_completions(
    request: Request, body: ChatCompletionRequest, service: Annotated[Service, Depends(service_of)]
) -> Response:
    """Answer a conversation."""
    headers = refuse_unknown(body, lenient=service.config.lenient)
    llm = service.llm(body.model)
    images, notes = await service.pictures.of(body.messages, llm)
    wanted = asked.chat(body, images, llm, service.admission.slots)
    return await respond(request, service, llm, wanted, headers | notes)
