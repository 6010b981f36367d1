"""The description of the API in OpenAPI 3.1, made from the models that check what comes in."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel

from vtrcli import __version__
from vtrcli.serve.endpoint import JSON, Endpoint

_REF = "#/components/schemas/{model}"
_ERRORS = {
    400: "The request is wrong.",
    404: "No such store or video, or its file is gone.",
    409: "The file or the store is not what it was, or lacks what was asked for.",
    413: "The body is too large.",
    416: "A range outside the file.",
    503: "Too busy; Retry-After says when to come again.",
}


def describe(endpoints: Sequence[Endpoint]) -> dict[str, Any]:
    """The whole description."""
    schemas: dict[str, Any] = {"Error": _ERROR}
    paths: dict[str, Any] = {}
    for endpoint in endpoints:
        paths.setdefault(endpoint.path, {})[endpoint.method.lower()] = _operation(endpoint, schemas)
    return {
        "openapi": "3.1.0",
        "info": {"title": "vtr serve", "version": __version__, "description": "Search in videos."},
        "paths": paths,
        "components": {"schemas": schemas},
    }


_ERROR = {
    "type": "object",
    "required": ["schema", "error"],
    "properties": {
        "schema": {"type": "integer"},
        "error": {
            "type": "object",
            "required": ["came_in", "allowed", "to_do"],
            "properties": {part: {"type": "string"} for part in ("came_in", "allowed", "to_do")},
        },
    },
}


def _operation(endpoint: Endpoint, schemas: dict[str, Any]) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "summary": endpoint.summary,
        "operationId": re.sub(r"\W+", "_", f"{endpoint.method.lower()}{endpoint.path}").strip("_"),
        "responses": {
            "200": {"description": "The answer.", "content": _content(endpoint.answers, schemas)},
            **{
                str(status): {
                    "description": _ERRORS[status],
                    "content": {JSON: {"schema": {"$ref": _REF.format(model="Error")}}},
                }
                for status in (400, *endpoint.errors)
            },
        },
    }
    in_path = re.findall(r"{(\w+)}", endpoint.path)
    if endpoint.takes is not None:
        schema = _schema(endpoint.parameters, schemas) if endpoint.takes == JSON else {"type": "string"}
        operation["requestBody"] = {"required": True, "content": {endpoint.takes: {"schema": schema}}}
    if endpoint.parameters is not None and endpoint.takes != JSON:
        taken: dict[str, Any] = endpoint.parameters.model_json_schema(ref_template=_REF)
        schemas |= taken.pop("$defs", {})
        operation["parameters"] = [
            {
                "name": name,
                "in": "path" if name in in_path else "query",
                "required": name in taken.get("required", ()),
                **({"description": what["description"]} if "description" in what else {}),
                "schema": {key: value for key, value in what.items() if key != "description"},
            }
            for name, what in taken.get("properties", {}).items()
        ]
    return operation


def _content(answers: type[BaseModel] | str, schemas: dict[str, Any]) -> dict[str, Any]:
    if isinstance(answers, str):
        return {answers: {} if answers != JSON else {"schema": {"type": "object"}}}
    return {JSON: {"schema": _schema(answers, schemas)}}


def _schema(model: type[BaseModel] | None, schemas: dict[str, Any]) -> dict[str, Any]:
    """A reference to a model, which is put among the schemas."""
    if model is None:
        return {}
    schema: dict[str, Any] = model.model_json_schema(ref_template=_REF)
    schemas |= schema.pop("$defs", {})
    schemas[model.__name__] = schema
    return {"$ref": _REF.format(model=model.__name__)}
