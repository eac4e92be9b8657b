"""The server described for programs: OpenAPI 3.1, with the schemas by which requests are checked."""

from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from silverstain.explorer.access import HEADER
from silverstain.version import __version__

_GRAPH = {
    "name": "graph", "in": "query", "required": True, "schema": {"type": "string"},
    "description": "The path of a graph file within the folder that is open.",
}  # fmt: skip
_NAME = {
    "name": "name", "in": "query", "required": True, "schema": {"type": "string"},
    "description": "What the file is called; the part before the ending is kept.",
}  # fmt: skip
_REPORT = {
    "name": "report", "in": "query", "required": True, "schema": {"type": "string"},
    "description": "The path of a study's report.json within the folder that is open.",
}  # fmt: skip
_OURS = {
    "name": HEADER, "in": "header", "required": True, "schema": {"type": "string"},
    "description": "Any text; pages of other sites cannot send it. Who asks under the same text takes turns as one.",
}  # fmt: skip


def openapi() -> dict[str, Any]:
    """The description."""
    schemas, works = _works()
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Silverstain explorer", "version": __version__,
            "description": "Graphs of one folder, the stories beside them, and work on running models.",
        },
        "paths": {
            "/": _got("The start page", "text/html"),
            "/view": _got("The page of a graph", "text/html", _GRAPH),
            "/study": _got("The page of a study's report, which runs nothing", "text/html", _REPORT),
            "/api/document": _got("The page's document: columns as typed arrays in base64, texts, story, cards",
                                  "application/json", _GRAPH),
            "/api/page": _got("The page as one file", "text/html", _GRAPH),
            "/api/json": _got("The graph as circuit-tracer and Neuronpedia read it", "application/json", _GRAPH),
            "/api/graph": {"post": _changed(
                "Keep a graph file in the folder under a free name, which is the answer. What is no graph is refused.",
                {"type": "string", "format": "binary"}, "application/json", _NAME, sent="application/octet-stream")},
            "/api/graphs": _got("The graphs of the folder, the newest first", "application/json"),
            "/api/studies": _got("The reports of studies in the folder, the newest first", "application/json"),
            "/api/models": _got("The models that may be run", "application/json"),
            "/api/compare": _got("How far two graphs agree", "application/json",
                                 *({**_GRAPH, "name": side} for side in ("left", "right"))),
            "/api/openapi.json": _got("This description", "application/json"),
            "/api/story": {"put": _changed("Write the story of a graph, which must carry the graph's hash",
                                           {"type": "object"}, "application/json", _GRAPH)},
            "/api/work": {"post": _changed(
                "Run a model. The answer is lines of JSON while the work is done: `waiting`, `phase`, `progress`, what "
                "the work tells, and at last `done`, `error` or `cancelled`. Closing the connection cancels it.",
                {"oneOf": works, "discriminator": {"propertyName": "kind"}}, "application/x-ndjson")},
        },
        "components": {
            "schemas": schemas | {"Error": {"type": "object", "required": ["error"],
                                            "properties": {"error": {"type": "string"}}}},
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer",
                                          "description": "Where the server was started with a token."}},
        },
        "security": [{}, {"token": []}],
    }  # fmt: skip


def _works() -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Schemas by name, and of each kind of work the one that its request must fit."""
    from silverstain.explorer.graph_work import ASKED
    from silverstain.explorer.tracing import TraceAsked

    asked: dict[str, type[BaseModel]] = {"trace": TraceAsked, **ASKED}
    models = list(dict.fromkeys(asked.values()))
    refs, found = models_json_schema(
        [(one, "validation") for one in models], ref_template="#/components/schemas/{model}"
    )
    works = [
        {"title": kind, "type": "object", "required": ["kind"], "properties": {"kind": {"const": kind}},
         "allOf": [refs[(model, "validation")]]}
        for kind, model in asked.items()
    ]  # fmt: skip
    return found["$defs"], works


def _got(what: str, media: str, *parameters: dict[str, Any]) -> dict[str, Any]:
    return {"get": {"summary": what, "parameters": list(parameters), "responses": _responses(media)}}


def _changed(
    what: str, body: dict[str, Any], media: str, *parameters: dict[str, Any], sent: str = "application/json"
) -> dict[str, Any]:
    return {
        "summary": what, "parameters": [_OURS, *parameters],
        "requestBody": {"required": True, "content": {sent: {"schema": body}}},
        "responses": _responses(media),
    }  # fmt: skip


def _responses(media: str) -> dict[str, Any]:
    def refusal(why: str) -> dict[str, Any]:
        return {"description": why, "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}}

    return {
        "200": {"description": "As asked", "content": {media: {}}},
        "400": refusal("What was sent is wrong; the sentence says how"),
        "401": refusal("The server has a token, and it was not given"),
        "403": refusal("Another host, a page of another site, or a change without our header"),
        "404": refusal("There is no such file in the folder"),
    }
