"""`/v1/models`, `/health`, `/metrics`, `/tokenize`, `/detokenize`: everything but answers."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Depends, Response
from fastapi.responses import JSONResponse

from mistral_small_edge.chat.messages import ChatRequest, TextRequest
from mistral_small_edge.errors import InvalidRequest
from mistral_small_edge.server.errors import retry_header
from mistral_small_edge.server.fields import Wire, refuse_unknown
from mistral_small_edge.server.service import Service, service_of
from mistral_small_edge.server.wire_messages import WireMessage, WireTool
from mistral_small_edge.server.wire_sampling import sampling_object

if TYPE_CHECKING:
    from mistral_small_edge.llm import LLM

router = APIRouter(tags=["models"])
_Service = Annotated[Service, Depends(service_of)]


class TokenizeRequest(Wire):
    """Text, or a conversation as its prompt would have it.

    `add_special_tokens`: begin a text with the token that the vocabulary begins texts with.
    """

    model: str | None = None
    prompt: str | None = None
    messages: list[WireMessage] | None = None
    tools: list[WireTool] | None = None
    add_generation_prompt: bool = True
    add_special_tokens: bool = True


class DetokenizeRequest(Wire):
    """Ids to be spelt."""

    model: str | None = None
    tokens: list[int]


@router.get("/v1/models")
@router.get("/api/v1/models", include_in_schema=False)
def list_models(service: _Service) -> dict[str, object]:
    """The model, under every name it answers to."""
    return {"object": "list", "data": [_model(service, name) for name in service.names]}


@router.get("/v1/models/{name:path}")
@router.get("/api/v1/models/{name:path}", include_in_schema=False)
def get_model(name: str, service: _Service) -> dict[str, object]:
    """One name of the model."""
    service.llm(name)
    return _model(service, name)


@router.get("/health")
def health(service: _Service) -> JSONResponse:
    """`ready` with 200, and what a load balancer wants to know; 503 and why not with all else.

    `loading` and `interrupted` pass by themselves, `failed` does not.
    """
    status, trouble = service.status
    if trouble is not None:
        refusal = {"status": status, "error": str(trouble)}
        return JSONResponse(refusal, 503, headers=retry_header(trouble))
    llm, admission = service.model(), service.admission
    return JSONResponse(
        {
            "status": status,
            "slots": admission.slots,
            "free_slots": admission.free_slots,
            "waiting": admission.waiting,
            "max_queue": admission.max_queue,
            "flash_attention": llm.flash_attention,
            "kv_type": llm.kv_type,
            "threads": llm.threads,
            "context_length": llm.context_length,
        }
    )


@router.get("/metrics")
def metrics(service: _Service) -> Response:
    """Figures for Prometheus."""
    return Response(service.metrics.exposition(), media_type="text/plain; version=0.0.4")


@router.post("/tokenize")
async def tokenize(body: TokenizeRequest, service: _Service) -> dict[str, object]:
    """Ids of a text, or of a conversation's prompt."""
    refuse_unknown(body, lenient=service.config.lenient)
    llm = service.llm(body.model) if body.model is not None else service.model()
    if (body.prompt is None) == (body.messages is None):
        raise InvalidRequest("give either prompt or messages", "prompt")
    if body.prompt is not None:
        ids = await asyncio.to_thread(_ids, llm, body.prompt, body.add_special_tokens)
    else:
        if (
            not body.add_generation_prompt
            and body.messages
            and body.messages[-1].role != "assistant"
        ):
            raise InvalidRequest(
                "this format ends a question without a mark of its own: add_generation_prompt "
                "cannot be false",
                "add_generation_prompt",
            )
        messages = body.messages or []
        images, _ = await service.pictures.of(messages, llm)
        request = ChatRequest(
            tuple(message.value(images) for message in messages),
            tools=tuple(tool.value() for tool in body.tools or ()),
        )
        ids = await asyncio.to_thread(llm.prompt_tokens, request)
    return {"tokens": list(ids), "count": len(ids), "max_model_len": llm.context_length}


@router.get("/tokenizer_info")
def tokenizer_info(service: _Service) -> dict[str, object]:
    """What a client must know to use /tokenize for its own.

    Control tokens have no spelling here: text never becomes one, so none would come back as an id.
    """
    llm = service.model()
    return {
        "tokenizer_class": "mistral-small-edge",
        "vocab_size": llm.tokenizer.vocab_size,
        "model_max_length": llm.context_length,
        "bos_token": None,
        "eos_token": None,
        "pad_token": None,
        "chat_template": None,
    }


@router.post("/detokenize")
async def detokenize(body: DetokenizeRequest, service: _Service) -> dict[str, object]:
    """The text that ids spell; control tokens spell nothing."""
    refuse_unknown(body, lenient=service.config.lenient)
    llm = service.llm(body.model) if body.model is not None else service.model()
    return {"prompt": await asyncio.to_thread(llm.decode, body.tokens)}


def _model(service: Service, name: str) -> dict[str, object]:
    llm = service.model()
    return {
        "id": name,
        "object": "model",
        "created": service.started,
        "owned_by": "mistral-small-edge",
        "max_model_len": llm.context_length,
        "max_num_seqs": service.admission.slots,
        "input_modalities": ["text", "image"] if llm.sees else ["text"],
        "system_fingerprint": llm.fingerprint,
        "default_sampling": sampling_object(llm.default_sampling),
    }


def _ids(llm: LLM, text: str, special: bool) -> tuple[int, ...]:
    return llm.prompt_tokens(TextRequest(text)) if special else llm.encode(text)
