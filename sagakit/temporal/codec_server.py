"""Decrypts payloads for people: the remote codec that Temporal's UI and command line ask, over HTTP.

The protocol is Temporal's: POST /decode and /encode with ``{"payloads": [...]}``, the namespace in ``X-Namespace``. It serves the
browsers of the origins that it is told, and nobody who lacks the token, where there is one.
"""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable, Sequence

from aiohttp import web
from google.protobuf import json_format
from temporalio.api.common.v1 import Payload, Payloads

from sagakit.errors import UnreadablePayload
from sagakit.temporal.encryption import EncryptionCodec
from sagakit.temporal.keyring import Keyring

MAX_BODY_BYTES = 16 * 1024 * 1024
_HEADERS = "content-type, x-namespace, authorization"
_DEPTH = 32
Convert = Callable[[Sequence[Payload]], Awaitable[list[Payload]]]


def application(keys: Keyring, namespace: str, origins: Sequence[str], token: str | None) -> web.Application:
    """Make the server's application. ``origins`` are those of the UI, like ``http://127.0.0.1:8233``."""

    @web.middleware
    async def guarded(
        request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        answer = web.Response(status=204) if request.method == "OPTIONS" else await _answered(request, handler, token)
        origin = request.headers.get("Origin")
        if origin is not None and origin in origins:
            answer.headers["Access-Control-Allow-Origin"] = origin
            answer.headers["Access-Control-Allow-Headers"] = _HEADERS
            answer.headers["Access-Control-Allow-Methods"] = "POST, OPTIONS"
            answer.headers["Access-Control-Allow-Credentials"] = "true"
            answer.headers["Vary"] = "Origin"
        return answer

    def converting(way: str) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def convert(request: web.Request) -> web.Response:
            asked = request.headers.get("X-Namespace", namespace)
            codec = EncryptionCodec(keys, asked)
            return await _converted(request, codec.encode if way == "encode" else codec.decode)

        return convert

    app = web.Application(middlewares=[guarded], client_max_size=MAX_BODY_BYTES)
    for way in ("encode", "decode"):
        app.router.add_post(f"/{way}", converting(way))
    return app


async def _answered(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]], token: str | None
) -> web.StreamResponse:
    given = request.headers.get("Authorization", "")
    if token is not None and not hmac.compare_digest(given.encode(), f"Bearer {token}".encode()):
        return web.Response(status=401, text="a bearer token is asked for: SAGAKIT_CODEC_TOKEN")
    try:
        return await handler(request)
    except web.HTTPException as refused:
        return web.Response(status=refused.status, text=refused.reason)


async def _converted(request: web.Request, convert: Convert) -> web.Response:
    try:
        asked = json_format.Parse(await request.text(), Payloads(), max_recursion_depth=_DEPTH)
        answer = Payloads(payloads=await convert(asked.payloads))
    except (json_format.ParseError, UnicodeDecodeError, RecursionError):
        return web.Response(status=400, text='expected {"payloads": [{"metadata": {...}, "data": ...}]}, in base64')
    except UnreadablePayload as error:
        return web.Response(status=400, text=str(error))
    return web.json_response(json_format.MessageToDict(answer))
