"""Text vectors of earlier queries, so that a query that was asked before needs neither the text tower nor torch.

One small file per text in the store's `index/queries/`, named by a hash of the text and of everything else that the
vector depends on. Derived: it can be deleted, and a store that may only be read is searched without it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from pathlib import Path

import numpy as np

from vtrcli.errors import StoreError
from vtrcli.store.catalog_file import INDEX_FOLDER
from vtrcli.store.config import STORE_VERSION, make_folder
from vtrcli.store.shard import open_tensors, write_tensors

QUERY_FORMAT = "vtr-query"
MAX_QUERIES = 4096  # 2 kB each with ViT-B/32
VECTOR, WAS_CUT = "vector", "was_cut"


def cache_folder(store: Path) -> Path:
    """Where the vectors of queries to a store are kept."""
    return store / INDEX_FOLDER / "queries"


class QueryCache:
    """Vectors of texts for one model, found by the text.

    Args:
        folder: where the files lie (`cache_folder` for a store).
        model_id: names the weights (and the tagger) that make the vectors.
    """

    def __init__(self, folder: Path, *, model_id: str, width: int) -> None:
        self._folder = folder
        self._model_id, self._width = model_id, width

    def get(self, text: str) -> tuple[np.ndarray, bool] | None:
        """float32 [width] and whether CLIP had to cut the text; None when it was not asked before."""
        path = self._path(text)
        try:
            file = open_tensors(path, file_format=QUERY_FORMAT, called="the vector of a query")
            file.require(VECTOR, "F32", (self._width,))
            vector = np.array(file.tensor(VECTOR))
            if file.wrong_checksums() or not np.isfinite(vector).all():
                return None
            with contextlib.suppress(OSError):  # what is asked again stays longest
                path.touch()
            return vector, file.metadata.get(WAS_CUT) == "1"
        except (OSError, StoreError):
            return None

    def put(self, text: str, vector: np.ndarray, *, was_cut: bool) -> None:
        """Keep a vector; the oldest go when there are too many."""
        metadata = {"format": QUERY_FORMAT, "version": str(STORE_VERSION), WAS_CUT: str(int(was_cut))}
        with contextlib.suppress(StoreError, OSError):
            make_folder(self._folder)
            write_tensors(self._path(text), {VECTOR: vector.astype("<f4")}, metadata)
            self._prune()

    def _path(self, text: str) -> Path:
        key = json.dumps([self._model_id, text]).encode()
        return self._folder / f"{hashlib.sha256(key).hexdigest()[:32]}.safetensors"

    def _prune(self) -> None:
        paths = list(self._folder.glob("[!.]*.safetensors"))
        if len(paths) > MAX_QUERIES:
            oldest_first = sorted(paths, key=lambda path: path.stat().st_mtime_ns)
            for path in oldest_first[: len(paths) - MAX_QUERIES * 3 // 4]:
                path.unlink(missing_ok=True)
