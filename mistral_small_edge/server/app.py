"""The application: routes, the gate before them, and what every error looks like."""

from __future__ import annotations

import logging
from importlib.metadata import version
from typing import TYPE_CHECKING

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware

from mistral_small_edge.errors import EdgeError
from mistral_small_edge.server import chat, completions, models
from mistral_small_edge.server.errors import (
    ERROR_RESPONSES,
    error_object,
    face_of,
    retry_header,
    validation_message,
    wire_error,
)
from mistral_small_edge.server.gate import Gate
from mistral_small_edge.server.service import Service

if TYPE_CHECKING:
    from concurrent.futures import Future

    from mistral_small_edge.config import ServerConfig
    from mistral_small_edge.llm import LLM

logger = logging.getLogger("mistral_small_edge.server")
_REQUEST = "invalid_request_error"


def create_app(loading: Future[LLM], slots: int, config: ServerConfig) -> FastAPI:
    """An app over one model.

    Args:
        loading: the model, or the promise of it; the app serves /health meanwhile.
        slots: answers that the model computes at the same time.
    """
    app = FastAPI(
        title="Mistral Small Edge", version=version("mistral-small-edge"), responses=ERROR_RESPONSES
    )
    service = app.state.service = Service(loading, slots, config)
    app.include_router(chat.router)
    app.include_router(completions.router)
    app.include_router(models.router)
    app.add_exception_handler(EdgeError, _edge_error)
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(Exception, _any_error)
    app.add_middleware(Gate, config=config, metrics=service.metrics)
    if config.origins:  # outermost: a refusal too must be readable by the page
        app.add_middleware(
            CORSMiddleware,
            allow_origins=config.origins,
            allow_methods=["GET", "POST"],
            allow_headers=["*"],
        )
    return app


async def _edge_error(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, EdgeError)  # noqa: S101 - registered for it alone
    return JSONResponse(error_object(error), face_of(error).status, headers=retry_header(error))


async def _validation_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for it alone
    message, param = validation_message(error.errors(), error.body)
    # Other types are not read as JSON: a web page may send them to any address without asking.
    if "json" not in request.headers.get("content-type", ""):
        message, param = "the body must come with Content-Type: application/json", None
    return JSONResponse(wire_error(message, _REQUEST, "invalid_value", param), 400)


async def _http_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for it alone
    message = f"{request.method} {request.url.path}: {error.detail}"
    return JSONResponse(
        wire_error(message, _REQUEST), error.status_code, headers=dict(error.headers or {})
    )


async def _any_error(_: Request, error: Exception) -> JSONResponse:
    logger.error("a request failed", exc_info=error)
    return JSONResponse(wire_error("the server failed at this request", "server_error"), 500)
