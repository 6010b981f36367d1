"""The catalogue's file in `index/`: derived, so that it can be deleted and is made again when shards came or went."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import numpy as np

from vtrcli.errors import StoreError
from vtrcli.store.catalog import TENSORS, Catalog
from vtrcli.store.catalog_making import file_states, make_catalog
from vtrcli.store.config import MALFORMED, STORE_VERSION, StoreConfig, make_folder, read_config
from vtrcli.store.maps import again_if_gone
from vtrcli.store.names import Names
from vtrcli.store.reader import SHARD_FOLDER, shard_paths
from vtrcli.store.roots import Roots, read_roots
from vtrcli.store.shard import DTYPES, TensorFile, open_tensors, write_tensors
from vtrcli.store.writer import is_compacted

INDEX_FOLDER = "index"
CATALOG_NAME = "catalog.safetensors"
CATALOG_FORMAT = "vtr-catalog"
NAMES = ("ids", "paths")


def open_catalog(store: Path) -> Catalog:
    """The catalogue of a store as it is at this moment: read from `index/`, or made and, where possible, kept there.

    Raises:
        StoreError: no store, a damaged shard, or one of another backbone.
    """
    return again_if_gone(lambda: _opened(store))


def _opened(store: Path) -> Catalog:
    config = read_config(store)
    roots, paths = read_roots(store), shard_paths(store)
    kept = _read(store, config, roots)
    if kept is not None and _is_current(kept, paths):
        _ = kept.files  # from now on they can be read, whoever deletes them
        return kept
    catalog = make_catalog(store, config, paths, kept, roots=roots)
    with contextlib.suppress(StoreError):  # a store that may only be read is searched all the same
        _write(catalog, roots)
    _ = catalog.files
    return catalog


def vanished_shards(store: Path) -> list[tuple[Path, str]]:
    """Shards that the catalogue knew with videos which are nowhere now, and how many: somebody deleted them.

    A shard that `vtr store compact` replaced left one behind that sorts after it.

    Raises:
        StoreError: no store here.
    """
    paths = shard_paths(store)
    kept = _read(store, read_config(store), read_roots(store))
    if kept is None:
        return []
    names = {path.name for path in paths}
    newest_compacted = max((path.name for path in paths if is_compacted(path)), default="")
    numbers = kept["video_shard"].tolist()
    return [
        (store / SHARD_FOLDER / name, f"gone, with {numbers.count(shard):,} videos that were searched before")
        for shard, name in enumerate(kept.shard_names)
        if name not in names and name > newest_compacted and shard in numbers
    ]


def require_videos(store: Path, num_videos: int) -> None:
    """Raises StoreError for a store that holds no video yet."""
    if not num_videos:
        raise StoreError(
            f"store {store} holds no video yet",
            allowed="a store with at least one video",
            to_do=f"fill it with `vtr extract FOLDER --store {store}`",
        )


def _is_current(catalog: Catalog, paths: list[Path]) -> bool:
    same_names = catalog.shard_names == tuple(path.name for path in paths)
    return same_names and catalog.file_states() == file_states(paths)


def _read(store: Path, config: StoreConfig, roots: Roots) -> Catalog | None:
    """The file in `index/`; None where there is none that can be used, whatever the reason: it is made again."""
    try:
        file = open_tensors(
            store / INDEX_FOLDER / CATALOG_NAME, file_format=CATALOG_FORMAT, called="a catalogue"
        )
        if file.metadata["backbone_sha256"] != config.backbone.sha256:
            return None
        if file.metadata.get("roots", "") != roots.key:  # a folder moved: other paths
            return None
        shard_names = json.loads(file.metadata["shards"])
        sizes: dict[str, int] = {"S": len(shard_names)}
        for name, (dtype, letter) in TENSORS.items():
            (size,) = file.require(name, dtype, (sizes.get(letter),))
            sizes[letter] = size
        names = [_read_names(file, name, sizes["V"]) for name in NAMES]
        arrays = {name: file.tensor(name) for name in TENSORS}
        left_out = {
            name: list(map(str, rows)) for name, rows in json.loads(file.metadata["left_out"]).items()
        }
    except (*MALFORMED, StoreError):
        return None
    catalog = Catalog(store, config, tuple(shard_names), arrays, names[0], names[1], left_out)
    return catalog if _is_sound(catalog) else None


def _is_sound(catalog: Catalog) -> bool:
    """Whether nothing points outside: a store may come from anywhere."""
    rows, starts, stops = catalog["inverse_norms"], catalog["start"], catalog["stop"]
    edges = np.stack([starts, stops], axis=1).ravel()
    last_feature = catalog["features_at"] + catalog["shard_rows"] * catalog.config.backbone.dim * 2
    last_time = catalog["timestamps_at"] + catalog["shard_rows"] * 4
    shards, positions = catalog["video_shard"], catalog["video_position"]
    return bool(
        all(isinstance(name, str) and Path(name).name == name for name in catalog.shard_names)
        and (catalog["shard_rows"] >= 0).all()
        and catalog.first_rows[-1] == len(rows)
        and (stops > starts).all()
        and (np.diff(edges) >= 0).all()
        and edges.min(initial=0) >= 0
        and edges.max(initial=0) <= len(rows)
        and (np.diff(shards) >= 0).all()
        and ((shards >= 0) & (shards < len(catalog.shard_names))).all()
        and (starts >= catalog.first_rows[shards]).all()
        and (stops <= catalog.first_rows[shards + 1]).all()
        and ((positions >= 0) & (positions < catalog["shard_videos"][shards])).all()
        and (np.minimum(catalog["features_at"], catalog["timestamps_at"]) >= 0).all()
        and (np.maximum(last_feature, last_time) <= catalog["shard_bytes"]).all()
        and np.isfinite(rows).all()
        and np.isfinite(catalog["mean_norms"]).all()
        and all(_cuts(names) for names in (catalog.ids, catalog.paths))
    )


def _cuts(names: Names) -> bool:
    offsets = names.offsets
    return bool(offsets[0] == 0 and offsets[-1] == len(names.body) and (offsets[1:] >= offsets[:-1]).all())


def _read_names(file: TensorFile, name: str, num_videos: int) -> Names:
    file.require(name, "U8", (None,))
    file.require(f"{name}_offsets", "I64", (num_videos + 1,))
    return Names(file.tensor(name), file.tensor(f"{name}_offsets"))


def _write(catalog: Catalog, roots: Roots) -> None:
    tensors = {name: array.astype(DTYPES[TENSORS[name][0]]) for name, array in catalog.arrays.items()}
    for name, names in (("ids", catalog.ids), ("paths", catalog.paths)):
        tensors |= {name: names.body, f"{name}_offsets": names.offsets}
    metadata = {
        "format": CATALOG_FORMAT,
        "version": str(STORE_VERSION),
        "backbone_sha256": catalog.config.backbone.sha256,
        "shards": json.dumps(catalog.shard_names),
        "left_out": json.dumps(catalog.left_out),
        "roots": roots.key,
    }
    make_folder(catalog.store / INDEX_FOLDER)
    write_tensors(catalog.store / INDEX_FOLDER / CATALOG_NAME, tensors, metadata)
