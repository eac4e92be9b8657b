"""The description of the server says what the server does."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.routing import Route
from starlette.testclient import TestClient

from silverstain.explorer.access import HEADER
from silverstain.explorer.openapi import openapi
from silverstain.explorer.server import application
from silverstain.explorer.work import KINDS


@pytest.fixture(scope="module")
def described() -> dict[str, Any]:
    return openapi()


def test_it_is_served(tmp_path: Path, described: dict[str, Any]):
    client = TestClient(application(tmp_path), base_url="http://localhost:8400")
    assert client.get("/api/openapi.json").json() == described


def test_every_route_is_described_with_its_methods_and_nothing_else_is(tmp_path: Path, described: dict[str, Any]):
    routes = {
        route.path: {method.lower() for method in route.methods or () if method != "HEAD"}
        for route in application(tmp_path).routes
        if isinstance(route, Route)
    }
    assert {path: set(methods) for path, methods in described["paths"].items()} == routes


def test_every_kind_of_work_has_its_schema(described: dict[str, Any]):
    body = described["paths"]["/api/work"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert {one["properties"]["kind"]["const"] for one in body["oneOf"]} == set(KINDS)


def test_every_reference_leads_somewhere(described: dict[str, Any]):
    def references(part: Any) -> Iterator[str]:
        if isinstance(part, dict):
            yield from (value for key, value in part.items() if key == "$ref")
            for value in part.values():
                yield from references(value)
        elif isinstance(part, list):
            for value in part:
                yield from references(value)

    found = set(references(described))
    assert found
    for one in found:
        at = described
        for step in one.removeprefix("#/").split("/"):
            at = at[step]


def test_what_changes_a_file_names_our_header(described: dict[str, Any]):
    for methods in described["paths"].values():
        for method, said in methods.items():
            named = HEADER in [one["name"] for one in said["parameters"]]
            assert named == (method != "get")
