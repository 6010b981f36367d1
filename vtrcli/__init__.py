"""vtr: text-to-video retrieval from the command line and from Python (docs/python.md).

import vtrcli as vtr

vtr.extract("videos", "store", frames=12)
vtr.train("store", dataset="csv", annotations="demo", out="runs/a", recipe="demo", epochs=3)
vtr.evaluate(store="store", run="runs/a", dataset="csv", annotations="demo", dsl=True)
vtr.search("a man cooking", "store", moments=True, top_k=5)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# The face: each name is imported when it is first used, so that `import vtrcli` costs nothing.
_PLACES = {
    "extract": "vtrcli.api",
    "train": "vtrcli.api",
    "evaluate": "vtrcli.api",
    "evaluate_moments": "vtrcli.api",
    "search": "vtrcli.api",
    "import_features": "vtrcli.extraction.imports",
    "export_features": "vtrcli.store.exports",
    "load_run": "vtrcli.api",
    "encode_texts": "vtrcli.api",
    "load_split": "vtrcli.datasets.registry",
    "FeatureStore": "vtrcli.store.reader",
    "Filters": "vtrcli.searching.filters",
    "Query": "vtrcli.searching.query",
    "Searcher": "vtrcli.searching.searcher",
    "VtrError": "vtrcli.errors",
}
__all__ = [
    "FeatureStore",
    "Filters",
    "Query",
    "Searcher",
    "VtrError",
    "encode_texts",
    "evaluate",
    "evaluate_moments",
    "export_features",
    "extract",
    "import_features",
    "load_run",
    "load_split",
    "search",
    "train",
]

if TYPE_CHECKING:
    from vtrcli.api import encode_texts, evaluate, evaluate_moments, extract, load_run, search, train
    from vtrcli.datasets.registry import load_split
    from vtrcli.errors import VtrError
    from vtrcli.extraction.imports import import_features
    from vtrcli.searching.filters import Filters
    from vtrcli.searching.query import Query
    from vtrcli.searching.searcher import Searcher
    from vtrcli.store.exports import export_features
    from vtrcli.store.reader import FeatureStore


def __getattr__(name: str) -> Any:
    """Import what is asked for."""
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_PLACES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
