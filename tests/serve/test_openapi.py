"""The description is whole: every address, its parameters with the limits that are checked, every reference found."""

from __future__ import annotations

import json
import re
from typing import Any

from starlette.testclient import TestClient


def test_every_address_is_described_with_the_limits_that_hold(client: TestClient) -> None:
    body = client.get("/api/openapi.json").json()
    assert body["openapi"] == "3.1.0"
    assert {"/api/search", "/api/similar", "/api/videos", "/api/videos/{id}", "/api/health"} <= body[
        "paths"
    ].keys()
    search: dict[str, Any] = body["paths"]["/api/search"]["get"]
    parameters = {each["name"]: each for each in search["parameters"]}
    assert parameters["top_k"]["schema"]["maximum"] == 200 and not parameters["top_k"]["required"]
    assert client.get("/api/search?q=a&top_k=201").status_code == 400
    # It is called `not` outside, though Python has another use for the word.
    assert "not" in parameters and "minus" not in parameters
    assert body["paths"]["/api/videos/{id}"]["get"]["parameters"][-1] | {"description": "", "schema": {}} == {
        "name": "id",
        "in": "path",
        "required": True,
        "description": "",
        "schema": {},
    }
    assert body["paths"]["/api/search"]["post"]["requestBody"]["content"].keys() == {"application/json"}


def test_every_reference_is_there_and_every_operation_has_its_own_name(client: TestClient) -> None:
    body = client.get("/api/openapi.json").json()
    references = set(re.findall(r'"#/components/schemas/(\w+)"', json.dumps(body)))
    assert references <= body["components"]["schemas"].keys() and "Error" in references
    names = [operation["operationId"] for path in body["paths"].values() for operation in path.values()]
    assert len(names) == len(set(names))
