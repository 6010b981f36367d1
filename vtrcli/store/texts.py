"""`text/`: caption features, found by their text. A file may hold any captions; a text is encoded once per tagger.

Tensors of a text file: `texts` U8 (UTF-8, one after the other) cut by `text_offsets` I64 [num_texts + 1]; per
stream `<stream>` F16 [num_texts, dim], not normalised; `mask` U8 [num_texts, num_streams], 1 where the caption has
that stream; `was_cut` U8 [num_texts], 1 where the caption was longer than what was read of it (not in older files).
"""

from __future__ import annotations

import itertools
import json
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vtrcli.errors import StoreError
from vtrcli.files import write_whole
from vtrcli.store.config import MALFORMED, make_folder
from vtrcli.store.shard import TensorFile, damaged, open_tensors, tensor_bytes

TEXT_FORMAT = "vtr-text"
TEXT_FOLDER = "text"
# With fewer, what unrelated queries score is not known well enough: docs/search.md has the figures.
MIN_BANK_TEXTS = 25


@dataclass(frozen=True)
class TextRows:
    """Of some captions: `features` float16 [num_texts, num_streams, dim], `mask` bool [num_texts, num_streams]; to be
    written, `was_cut` bool [num_texts], which were longer than what was read (None: not known)."""

    features: np.ndarray
    mask: np.ndarray
    was_cut: np.ndarray | None = None


def write_texts(
    store: Path,
    texts: Sequence[str],
    rows: TextRows,
    *,
    streams: Sequence[str],
    tagger_id: str,
    backbone_sha256: str,
) -> Path:
    """Write one text file into `text/`, whole or not at all. Raises StoreError when the folder cannot be written."""
    path = store / TEXT_FOLDER / f"{time.time_ns():020d}-{secrets.token_hex(4)}.safetensors"
    write_text_file(path, texts, rows, streams=streams, tagger_id=tagger_id, backbone_sha256=backbone_sha256)
    return path


def write_text_file(
    path: Path,
    texts: Sequence[str],
    rows: TextRows,
    *,
    streams: Sequence[str],
    tagger_id: str,
    backbone_sha256: str,
) -> None:
    """Write captions with their features, whole or not at all. Raises StoreError when the folder cannot be written."""
    make_folder(path.parent)
    encoded = [text.encode("utf-8", "surrogatepass") for text in texts]
    tensors: dict[str, np.ndarray] = {
        "texts": np.frombuffer(b"".join(encoded), np.uint8),
        "text_offsets": np.cumsum([0, *map(len, encoded)], dtype=np.int64),
        "mask": rows.mask.astype(np.uint8),
    }
    if rows.was_cut is not None:
        tensors["was_cut"] = rows.was_cut.astype(np.uint8)
    for number, stream in enumerate(streams):
        tensors[stream] = np.ascontiguousarray(rows.features[:, number]).astype("<f2", copy=False)
    metadata = {
        "streams": json.dumps(list(streams)),
        "tagger": tagger_id,
        "backbone_sha256": backbone_sha256,
    }
    write_whole(path, tensor_bytes(tensors, TEXT_FORMAT, metadata))


def text_paths(store: Path) -> list[Path]:
    """The text files of a store, oldest first."""
    return sorted((store / TEXT_FOLDER).glob("[!.]*.safetensors"))


def open_texts(path: Path) -> TensorFile:
    """Open a text file by its header.

    Raises:
        StoreError: damaged, of a newer format, or another kind of file.
    """
    file = open_tensors(path, file_format=TEXT_FORMAT, called="a text file of a store")
    try:
        streams = json.loads(file.metadata["streams"])
        if not isinstance(streams, list) or not streams or not all(isinstance(name, str) for name in streams):
            raise TypeError("it is not a list of names")
    except MALFORMED as cause:
        raise damaged(path, f"the list of streams cannot be read ({cause})") from cause
    num_texts, _ = file.require("mask", "U8", (None, len(streams)))
    dim = None
    for name in streams:
        _, dim = file.require(name, "F16", (num_texts, dim))
    if "was_cut" in file:
        file.require("was_cut", "U8", (num_texts,))
    file.require("texts", "U8", (None,))
    file.require("text_offsets", "I64", (num_texts + 1,))
    return file


def texts_of(file: TensorFile) -> list[str]:
    """The captions of an open text file, in the order of their rows.

    Raises:
        StoreError: the offsets or the characters are damaged.
    """
    body = file.tensor("texts").tobytes()
    offsets = file.tensor("text_offsets").tolist()
    if offsets[0] != 0 or offsets[-1] != len(body) or offsets != sorted(offsets):
        raise damaged(file.path, "the offsets do not cut the characters into texts")
    try:
        return [
            body[start:stop].decode("utf-8", "surrogatepass") for start, stop in itertools.pairwise(offsets)
        ]
    except UnicodeDecodeError as cause:
        raise damaged(file.path, f"a text is not UTF-8 ({cause})") from cause


class TextCache:
    """All caption features of one tagger and backbone in a store, looked up by text.

    Raises:
        StoreError: a text file is damaged.
    """

    def __init__(self, store: Path, *, streams: Sequence[str], tagger_id: str, backbone_sha256: str) -> None:
        self._streams = list(streams)
        self._files: list[TensorFile] = []
        self._at: dict[str, tuple[int, int]] = {}
        for path in text_paths(store):
            file = open_texts(path)
            wanted = (json.dumps(self._streams), tagger_id, backbone_sha256)
            if tuple(file.metadata.get(key) for key in ("streams", "tagger", "backbone_sha256")) == wanted:
                self._index(file)

    def _index(self, file: TensorFile) -> None:
        texts = texts_of(file)
        if self._files and file.shape(self._streams[0])[1] != self._files[0].shape(self._streams[0])[1]:
            raise damaged(file.path, "its features have another dimension than those of the other files")
        self._at.update((text, (len(self._files), row)) for row, text in enumerate(texts))
        self._files.append(file)

    def __len__(self) -> int:
        return len(self._at)

    def missing(self, texts: Sequence[str]) -> list[str]:
        """The texts that are not cached, each once, in their order."""
        return [text for text in dict.fromkeys(texts) if text not in self._at]

    def rows(self, texts: Sequence[str]) -> TextRows:
        """Features of the given captions, in their order; copied into memory.

        Raises:
            StoreError: a caption is not cached.
        """
        missing = self.missing(texts)
        if missing:
            raise StoreError(
                f"{len(missing):,} of {len(texts):,} captions have no features, the first is {missing[0][:60]!r}",
                allowed="captions that `vtr cache` has encoded",
                to_do="run `vtr cache` with the same --dataset, --annotations and --tagger",
            )
        at = np.array([self._at[text] for text in texts], np.int64).reshape(len(texts), 2)
        dim = self._files[0].shape(self._streams[0])[1] if self._files else 0
        features = np.empty((len(texts), len(self._streams), dim), np.float16)
        mask = np.empty((len(texts), len(self._streams)), bool)
        for number, file in enumerate(self._files):
            here = np.flatnonzero(at[:, 0] == number)
            if len(here):
                for stream, name in enumerate(self._streams):
                    features[here, stream] = file.rows(name).take(at[here, 1])
                mask[here] = file.rows("mask").take(at[here, 1]).astype(bool)
        return TextRows(features, mask)

    def num_cut(self, texts: Sequence[str]) -> int | None:
        """How many of the given captions, all cached, are longer than what was read of them; None where an older file
        does not tell."""
        total = 0
        by_file: dict[int, list[int]] = {}
        for number, row in (self._at[text] for text in texts):
            by_file.setdefault(number, []).append(row)
        for number, rows in by_file.items():
            if "was_cut" not in self._files[number]:
                return None
            total += int(self._files[number].tensor("was_cut")[rows].astype(bool).sum())
        return total
