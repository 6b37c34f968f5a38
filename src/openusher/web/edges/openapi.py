"""The plain door for programs: an OpenAPI document, made from the very structs that read questions and answers."""

from __future__ import annotations

from typing import Any

import msgspec

from openusher import __version__
from openusher.web.asgi import JSON, Receive, Scope, Send, send_answer
from openusher.web.edges.authorize import PATH as AUTHORIZE
from openusher.web.edges.authorize import Answer, Refusal
from openusher.web.edges.connections import Told
from openusher.web.edges.question import Question

PATH = "/openapi.json"

_ACTIONS = ["start", "follow", "end"]
_REFUSED = {
    400: "The question cannot be read; nothing was recorded. Mend the member named in `error.field`.",
    401: "The edge token is missing or unknown, or its account is disabled.",
    408: "The body did not arrive in time. Send it again.",
    409: "This `attempt_id` came before with another question. Draw a new one.",
    413: "The body is longer than 65,536 bytes.",
    503: "Not decided. Let nobody in, and ask again after `Retry-After` seconds, with the same `attempt_id`.",
}


def openapi_document() -> dict[str, Any]:
    """The document, in OpenAPI 3.1."""
    structs = (Question, Answer, Told, Refusal)
    (question, answer, told, refusal), schemas = msgspec.json.schema_components(
        structs, ref_template="#/components/schemas/{name}"
    )
    # None says that it may be left out; whoever writes a question has no need to say so.
    for schema in schemas["Question"]["properties"].values():
        schema.pop("default", None)
    schemas["Question"]["properties"]["action"]["anyOf"] = [{"enum": _ACTIONS}, {"type": "null"}]
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Usher, the plain door",
            "version": __version__,
            "description": "A media server asks here whether a viewer may start a video, may go on, or has ended.",
        },
        "paths": {
            AUTHORIZE: {
                "post": {
                    "operationId": "authorize",
                    "summary": "Decide whether a viewer may start a video, and record the attempt",
                    "security": [{"edge_token": []}],
                    "requestBody": {"required": True, "content": _json(question)},
                    "responses": {
                        "200": {"description": "Decided: yes or no.", "content": _json({"anyOf": [answer, told]})},
                        **{
                            str(status): {"description": text, "content": _json(refusal)}
                            for status, text in _REFUSED.items()
                        },
                    },
                }
            }
        },
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "edge_token": {"type": "http", "scheme": "bearer", "description": "The token of the edge that asks."}
            },
        },
    }


class OpenApiEndpoint:
    """Serves the document to anybody: it says nothing of this node."""

    def __init__(self) -> None:
        self._body = msgspec.json.encode(openapi_document())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send_answer(send, 200, self._body, JSON)


def _json(schema: dict[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}
