"""`/api/health`: what is served, and how it is."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request

from vtrcli import __version__
from vtrcli.errors import VtrError
from vtrcli.searching.bank import Bank
from vtrcli.serve.endpoint import Endpoint, Parameters
from vtrcli.serve.library import Library
from vtrcli.store.progress import running_extract


class Health(Parameters):
    """Nothing."""


def endpoints(library: Library) -> list[Endpoint]:
    """Health."""

    def health(asked: Health, request: Request) -> dict[str, Any]:
        stores = [_store_health(library, name) for name in library.names]
        return {
            "command": "health",
            "status": "ok" if all(store["error"] is None for store in stores) else "degraded",
            "version": __version__,
            "num_videos": sum(store["num_videos"] for store in stores),
            "stores": stores,
        }

    return [Endpoint(path="/api/health", summary="What is served", parameters=Health, answer=health)]


def _store_health(library: Library, name: str) -> dict[str, Any]:
    path = library.paths[name]
    progress = running_extract(path)
    known: dict[str, Any] = {
        "name": name,
        "store": str(path),
        "num_videos": 0,
        "num_frames": 0,
        "backbone": None,
        "run": None,
        "has_bank": False,
        "kept_frames": False,
        "is_extracting": progress is not None,
        "progress": None if progress is None else progress.to_json(),
        "error": None,
    }
    try:
        opened = library.store(name)
    except VtrError as error:
        return known | {"error": error.to_json()}
    searcher, catalog = opened.searcher, opened.catalog
    return known | {
        "num_videos": catalog.num_videos,
        "num_frames": int((catalog["stop"] - catalog["start"]).sum()),
        "backbone": catalog.config.backbone.name,
        "run": None if searcher.run is None else str(searcher.run.run),
        "has_bank": isinstance(searcher.bank, Bank),
        "kept_frames": opened.has_frames,
    }
