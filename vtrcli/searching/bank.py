"""The query bank of a store: captions that stand for what people ask, so that one live query can be judged by them."""

from __future__ import annotations

import hashlib
import random
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vtrcli.errors import InputError, StoreError
from vtrcli.model.towers import open_text_tower
from vtrcli.store.catalog_file import INDEX_FOLDER, require_videos
from vtrcli.store.config import BackboneTag
from vtrcli.store.reader import FeatureStore
from vtrcli.store.shard import damaged
from vtrcli.store.texts import BANK_NAME, TextRows, open_texts, write_text_file
from vtrcli.text.streams import STREAMS

if TYPE_CHECKING:
    from vtrcli.text.taggers import TaggerName

# Below, the background is not known well enough: docs/search.md has the figures.
MIN_TEXTS = 25
MAX_TEXTS = 10_000


@dataclass(frozen=True)
class Bank:
    """The captions' features (float16 [num_texts, num_streams, dim]) and what names their content."""

    id: str
    rows: TextRows
    tagger_id: str

    @property
    def num_texts(self) -> int:
        """How many captions it holds."""
        return len(self.rows.mask)


@dataclass(frozen=True)
class BankResult:
    """`num_texts` are in the bank, of `num_found` different ones; `num_cut` of them were over 77 tokens."""

    path: Path
    num_found: int
    num_texts: int
    num_cut: int


def build_bank(
    store: Path,
    texts: Sequence[str],
    *,
    max_texts: int = MAX_TEXTS,
    tagger: TaggerName = "hanta",
    device: str = "auto",
    seed: int = 0,
    on_progress: Callable[[int, int], None] = lambda num_done, total: None,
) -> BankResult:
    """Encode captions (a random choice of them where there are too many) and keep them as the store's bank.

    Raises:
        InputError: fewer than MIN_TEXTS different captions.
        StoreError, WeightsError: the store or its backbone.
    """
    # Imports that take 0.1 s, which a search must not pay.
    from vtrcli.text.cache import CHUNK_TEXTS, encode_streams
    from vtrcli.text.taggers import load_tagger

    opened = FeatureStore(store)
    require_videos(store, len(opened.videos))
    found = list(dict.fromkeys(stripped for text in texts if (stripped := text.strip())))
    if len(found) < MIN_TEXTS:
        raise InputError(
            f"{len(found)} different captions for a bank",
            allowed=f"at least {MIN_TEXTS}; fewer do not tell what an unrelated query scores",
            to_do="use the training captions of a data set, or a longer file with one caption per line",
        )
    chosen = found if len(found) <= max_texts else random.Random(seed).sample(found, max_texts)
    tag, tower = load_tagger(tagger), open_text_tower(opened, device=device)
    parts, num_cut = [], 0
    for start in range(0, len(chosen), CHUNK_TEXTS):
        rows, num_cut_here = encode_streams(chosen[start : start + CHUNK_TEXTS], tag, tower)
        parts.append(rows)
        num_cut += num_cut_here
        on_progress(start + len(rows.mask), len(chosen))
    rows = TextRows(
        *(np.concatenate([getattr(part, name) for part in parts]) for name in ("features", "mask"))
    )
    path = store / BANK_NAME
    sha256 = opened.config.backbone.sha256
    write_text_file(path, chosen, rows, streams=STREAMS, tagger_id=tag.id, backbone_sha256=sha256)
    for old in (store / INDEX_FOLDER).glob("bank-*"):
        shutil.rmtree(old, ignore_errors=True)
    return BankResult(path, len(found), len(chosen), num_cut)


def open_bank(store: Path, backbone: BackboneTag) -> Bank:
    """The bank of a store.

    Raises:
        StoreError: there is none, it is damaged, or it is of another backbone.
    """
    path = store / BANK_NAME
    if not path.exists():
        raise StoreError(
            f"store {store} has no query bank",
            allowed="a bank of captions, for --dsl, --method and --min-relevance",
            to_do=f"make one with `vtr bank build --texts FILE --store {store}`, or from a data set's captions",
        )
    file = open_texts(path)
    metadata = file.metadata
    if not {"backbone_sha256", "tagger", "crc32"} <= metadata.keys():
        raise damaged(path, "its description is not whole")
    if metadata["backbone_sha256"] != backbone.sha256:
        raise StoreError(
            f"{path} is a bank of another backbone (weights {metadata['backbone_sha256'][:12]})",
            allowed=f"a bank of the store's own (weights {backbone.sha256[:12]})",
            to_do=f"build it again with `vtr bank build --store {store}`",
        )
    for stream in STREAMS:
        file.require(stream, "F16", (None, backbone.dim))
    features = np.stack([file.tensor(stream) for stream in STREAMS], axis=1)
    if len(features) < MIN_TEXTS or not np.isfinite(features).all():
        raise damaged(path, "its captions are too few, or their features not finite")
    name = hashlib.sha256(metadata["crc32"].encode()).hexdigest()[:16]
    rows = TextRows(features, file.tensor("mask").astype(bool))
    return Bank(name, rows, metadata["tagger"])
