"""The OpenAPI 3.1 document, made of the same table as the routes, so that it cannot drift."""

from collections.abc import Sequence
from typing import Any

import msgspec

from tallystick.validator import answers
from tallystick.validator.routes import Route

TITLE = "tallystick validator"
REFERENCE = "#/components/schemas/{name}"


def document(routes: Sequence[Route], version: str, origin: str) -> dict[str, Any]:
    """The document of these routes."""
    types = [route.answer for route in routes if isinstance(route.answer, type)]
    types += [route.takes_type for route in routes if route.takes_type is not None]
    used = [answers.Problem, *types]
    _, components = msgspec.json.schema_components(used, ref_template=REFERENCE)
    paths: dict[str, Any] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": TITLE,
            "version": version,
            "description": f"The log {origin}. docs/protocol.md, section 8.",
        },
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {
                "reader": {"type": "http", "scheme": "bearer"},
                "operator": {"type": "http", "scheme": "bearer"},
            },
        },
    }


def _operation(route: Route) -> dict[str, Any]:
    responses: dict[str, Any] = {"200" if route.answer else "204": _ok(route)}
    # A question that is not understood, and a store that does not answer, are possible everywhere.
    for status in sorted({400, 503, *route.problems}):
        responses[str(status)] = {
            "description": PROBLEMS[status],
            "content": {
                "application/problem+json": {"schema": {"$ref": REFERENCE.format(name="Problem")}}
            },
        }
    operation: dict[str, Any] = {
        "operationId": route.name,
        "summary": route.summary,
        "parameters": [_parameter(item) for item in route.parameters],
        "responses": responses,
    }
    if route.bodies:
        operation["security"] = [{"reader": []}]
    if route.operators:
        operation["security"] = [{"operator": []}]
    if route.takes is not None:
        what, media = route.takes
        content: dict[str, Any] = {}
        if route.takes_type is not None:
            content["schema"] = {"$ref": REFERENCE.format(name=route.takes_type.__name__)}
        operation["requestBody"] = {
            "required": True,
            "description": what,
            "content": {media: content},
        }
    return operation


def _ok(route: Route) -> dict[str, Any]:
    if not route.answer:
        return {"description": route.says}
    if isinstance(route.answer, str):
        return {"description": route.says, "content": {route.answer: {}}}
    schema = {"$ref": REFERENCE.format(name=route.answer.__name__)}
    return {"description": route.says, "content": {"application/json": {"schema": schema}}}


def _parameter(item: Any) -> dict[str, Any]:
    return {
        "name": item.name,
        "in": item.where,
        "required": item.required,
        "description": item.says,
        "schema": item.schema,
    }


PROBLEMS = {
    400: "The input is not what the format allows, or does not verify.",
    401: "Bodies need a reader's token, holds an operator's.",
    403: "The sender is not enrolled here, or the token does not cover that.",
    404: "Not known here.",
    408: "The body came too slowly.",
    409: "It does not extend what is known, and the size that is known says from where; or the "
    "bodies are on hold.",
    410: "The body was erased; the title says by which log entry.",
    413: "A size limit is passed.",
    422: "The consistency proof does not show that the checkpoint extends the one cosigned last.",
    415: "Not of the type that is taken here.",
    429: "Too much at once.",
    503: "Not now; send again later.",
}
