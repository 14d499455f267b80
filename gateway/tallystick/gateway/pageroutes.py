"""The page's addresses as one table: the routes and the OpenAPI document are made of it."""

from dataclasses import dataclass
from typing import Any

import msgspec

from tallystick.gateway import pagelimits
from tallystick.gateway.pageguide import Guides
from tallystick.gateway.pagestate import Devices, History, OneDevice, Problem, Status

HTML = "text/html"
SCRIPT = "text/javascript"
STYLE = "text/css"
JSON = "application/json"
EVENTS = "text/event-stream"
METRICS = "text/plain"
PROBLEM = "application/problem+json"
# Files of web/ by their address.
FILES = {
    "/": ("index.html", HTML),
    "/ui/app.js": ("app.js", SCRIPT),
    "/ui/style.css": ("style.css", STYLE),
    "/ui/uPlot.js": ("uPlot.iife.min.js", SCRIPT),
    "/ui/uPlot.css": ("uPlot.min.css", STYLE),
}


@dataclass(frozen=True, kw_only=True)
class Route:
    """One address. `open`: answered without a token, since it tells nothing of the fleet."""

    path: str
    name: str
    says: str
    answer: type | str
    open: bool = False
    problems: tuple[int, ...] = ()
    # Name of each query parameter, and what it means.
    query: tuple[tuple[str, str], ...] = ()


PAGED = (
    ("q", "text in the asset tag, the id or the fleet"),
    ("first", "where to begin, counted from 0"),
    ("limit", f"rows, at most {pagelimits.DEVICES_ROWS_MAX}"),
    ("trouble", "1: only devices with trouble, gaps or parked segments"),
)
ROUTES = (
    *(
        Route(path=path, name="file", says="A part of the page.", answer=media, open=True)
        for path, (_, media) in FILES.items()
    ),
    Route(path="/v1/status", name="status", says="All but devices and plots.", answer=Status),
    Route(
        path="/v1/devices",
        name="devices",
        says="Devices, those with trouble first.",
        answer=Devices,
        query=PAGED,
    ),
    Route(
        path="/v1/devices/{id}",
        name="device",
        says="One device, by its id.",
        answer=OneDevice,
        problems=(404,),
    ),
    Route(path="/v1/history", name="history", says="The points of the plots.", answer=History),
    Route(
        path="/v1/events",
        name="events",
        says="`status` events: what /v1/status says, at most once a second.",
        answer=EVENTS,
    ),
    Route(
        path="/v1/guide",
        name="guide",
        says="What to do about each condition.",
        answer=Guides,
        open=True,
    ),
    Route(path="/metrics", name="metrics", says="Prometheus metrics.", answer=METRICS),
    Route(
        path="/healthz", name="healthz", says="The process does its work.", answer=JSON, open=True
    ),
    Route(
        path="/readyz",
        name="readyz",
        says="Records are taken and acknowledged now.",
        answer=JSON,
        open=True,
    ),
    Route(path="/openapi.json", name="document", says="This description.", answer=JSON, open=True),
)
PROBLEMS = {
    400: "A parameter that is not known, or not as it must be.",
    401: "Send the token of page.token_file as a bearer token.",
    403: "Asked by another site's page, or under a host name that is not configured.",
    404: "Not known here.",
    429: "Too many wrong tokens.",
    503: "Not now; `reasons` says why.",
}


def openapi(version: str) -> dict[str, Any]:
    """OpenAPI 3.1."""
    types = [route.answer for route in ROUTES if isinstance(route.answer, type)]
    reference = "#/components/schemas/{name}"
    _, components = msgspec.json.schema_components([Problem, *types], ref_template=reference)
    problem = {PROBLEM: {"schema": {"$ref": reference.format(name="Problem")}}}
    paths: dict[str, Any] = {}
    for route in ROUTES:
        content: dict[str, Any] = {str(route.answer): {}}
        if isinstance(route.answer, type):
            content = {JSON: {"schema": {"$ref": reference.format(name=route.answer.__name__)}}}
        statuses = {400, 403, 503, *route.problems, *(() if route.open else (401, 429))}
        names = [("id", "path", "a device id")] if "{id}" in route.path else []
        names += [(name, "query", says) for name, says in route.query]
        operation: dict[str, Any] = {
            "operationId": route.name if route.name != "file" else f"file_{FILES[route.path][0]}",
            "summary": route.says,
            "parameters": [
                {
                    "name": name,
                    "in": where,
                    "required": where == "path",
                    "description": says,
                    "schema": {"type": "string"},
                }
                for name, where, says in names
            ],
            "responses": {
                "200": {"description": route.says, "content": content},
                **{
                    str(status): {"description": PROBLEMS[status], "content": problem}
                    for status in sorted(statuses)
                },
            },
        }
        if not route.open:
            operation["security"] = [{"token": []}, {}]
        paths[route.path] = {"get": operation}
    return {
        "openapi": "3.1.0",
        "info": {"title": "tallystick gateway", "version": version},
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }
