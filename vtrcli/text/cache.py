"""Captions -> features of their streams, kept in the store: the use cases of `vtr cache` and `vtr bank build`."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from vtrcli.errors import InputError, WeightsError
from vtrcli.model.backbone import Backbone
from vtrcli.model.families import open_text_tower
from vtrcli.store.config import BANK_NAME, BackboneInfo
from vtrcli.store.derived import remove_tables
from vtrcli.store.reader import FeatureStore, require_videos
from vtrcli.store.texts import MIN_BANK_TEXTS, TextCache, TextRows, write_text_file, write_texts
from vtrcli.text.encode import encode_streams
from vtrcli.text.streams import (
    STREAMS,
    Stream,
    TaggerName,
    WholeCaptions,
    load_tagger,
)

CHUNK_TEXTS = 8192  # captions per text file: what an interruption loses at most
TEXT_BATCH_SIZE = 64
MAX_BANK_TEXTS = 10_000


@dataclass(frozen=True, kw_only=True)
class Unread:
    """Of some texts: how many do not fit into `limit` tokens and were cut (None: not known), and how many have words in
    which scripts that the backbone was not trained on."""

    backbone: BackboneInfo
    num_texts: int
    num_cut: int | None
    limit: int
    num_in_scripts: int
    scripts: tuple[str, ...]

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences for the user about a file or data set of captions; none where all is read."""
        found = []
        if self.num_cut:
            found.append(
                f"{self.num_cut:,} of {self.num_texts:,} captions are longer than {self.limit} tokens and were cut"
            )
        if self.num_in_scripts:
            from vtrcli.text.scripts import script_note

            which = script_note(self.scripts, self.backbone)
            found.append(f"{self.num_in_scripts:,} of {self.num_texts:,} captions have {which}")
        return tuple(found)

    def to_json(self) -> dict[str, Any]:
        """Keys of `--json`."""
        return {
            "num_cut": self.num_cut,
            "num_unread_script": self.num_in_scripts,
            "unread_scripts": list(self.scripts),
        }


def unread(
    texts: Sequence[str], backbone: BackboneInfo, *, num_cut: int | None, limit: int | None = None
) -> Unread:
    """What a backbone does not read of texts; `limit` None: its own length."""
    scripts: list[tuple[str, ...]] = []
    others = [text for text in texts if not text.isascii()]
    if others:
        from vtrcli.text.scripts import unread_scripts

        scripts = [found for text in others if (found := unread_scripts(text, backbone))]
    return Unread(
        backbone=backbone,
        num_texts=len(texts),
        num_cut=num_cut,
        limit=min(limit or backbone.context_length, backbone.context_length),
        num_in_scripts=len(scripts),
        scripts=tuple(dict.fromkeys(name for names in scripts for name in names)),
    )


@dataclass(frozen=True)
class CaptionCacheResult:
    """What was encoded. `num_cut` counts captions over `max_tokens` (None: the backbone's), `num_without` captions that
    lack a stream; `problems` says per split why it was passed over, `unread` what of all of them the backbone does not
    read (`num_cut` is above)."""

    num_texts: int
    num_encoded: int
    num_cut: int
    num_without: dict[Stream, int]
    tagger_id: str
    unread: Unread
    max_tokens: int | None = None
    problems: dict[str, str] = field(default_factory=dict)


def cache_captions(
    store: Path,
    *,
    dataset: str,
    annotations: Path,
    splits: Sequence[str] = (),
    tagger: TaggerName = "hanta",
    max_tokens: int | None = None,
    device: str = "auto",
    on_progress: Callable[[int, int], None] = lambda num_done, total: None,
) -> CaptionCacheResult:
    """Encode the captions of a data set that the store does not have yet; interrupted runs go on where they stopped.

    Args:
        max_tokens: of a text, start and end included; None: the data set's (`registry.text_limit`).
        splits: all that have their files by default; the others are then named in the result's `problems`.

    Raises:
        UsageError, InputError: the data set or its files; without `splits`, when not one split can be read.
        StoreError, WeightsError: the store or its backbone.
    """
    from vtrcli.datasets.registry import Annotations, text_limit

    opened = FeatureStore(store)
    texts: list[str] = []
    errors: dict[str, InputError] = {}
    files = Annotations(dataset, annotations)
    for name in splits or files.splits:
        try:
            texts += [caption.text for caption in files.load(name).captions]
        except InputError as error:
            if splits:
                raise
            errors[name] = error
    if errors and not texts:
        raise next(iter(errors.values()))
    limit = text_limit(dataset) if max_tokens is None else max_tokens
    result = cache_texts(
        opened, texts, tagger=tagger, max_tokens=limit, device=device, on_progress=on_progress
    )
    return replace(result, problems={name: error.came_in for name, error in errors.items()})


def cache_texts(
    store: FeatureStore,
    texts: Sequence[str],
    *,
    tagger: TaggerName = "hanta",
    max_tokens: int | None = None,
    device: str = "auto",
    on_progress: Callable[[int, int], None] = lambda num_done, total: None,
) -> CaptionCacheResult:
    """Encode the given texts that the store does not have yet, each once per stream and limit."""
    tag = load_tagger(tagger)
    cache = open_text_cache(store, tagger_id=tag.id, max_tokens=max_tokens)
    todo = cache.missing(texts)
    num_cut = 0
    num_without: dict[Stream, int] = {"entity": 0, "action": 0}
    different = list(dict.fromkeys(texts))
    not_read = unread(different, store.config.backbone, num_cut=None, limit=max_tokens)
    if not todo:
        return CaptionCacheResult(len(different), 0, num_cut, num_without, tag.id, not_read, max_tokens)
    backbone = _tower_for(store, texts, tag.id, max_tokens, device=device)
    for start in range(0, len(todo), CHUNK_TEXTS):
        chunk = todo[start : start + CHUNK_TEXTS]
        rows, num_cut_here = encode_streams(
            chunk, tag, backbone, max_tokens=max_tokens, batch_size=TEXT_BATCH_SIZE
        )
        num_cut += num_cut_here
        num_without["entity"] += int((~rows.mask[:, 1]).sum())
        num_without["action"] += int((~rows.mask[:, 2]).sum())
        write_texts(
            store.path,
            chunk,
            rows,
            streams=STREAMS,
            tagger_id=reading_id(tag.id, max_tokens),
            backbone_sha256=store.config.backbone.sha256,
        )
        on_progress(start + len(chunk), len(todo))
    return CaptionCacheResult(len(different), len(todo), num_cut, num_without, tag.id, not_read, max_tokens)


def _tower_for(
    store: FeatureStore, texts: Sequence[str], tagger_id: str, max_tokens: int | None, *, device: str
) -> Backbone:
    """Raises WeightsError, which says so where the texts are there as a whole: their features were imported."""
    try:
        return open_text_tower(store, device=device)
    except WeightsError as error:
        whole = WholeCaptions.id
        if tagger_id == whole or open_text_cache(store, tagger_id=whole, max_tokens=max_tokens).missing(
            texts
        ):
            raise
        raise WeightsError(
            f"captions cannot be split into nouns and verbs: {error.came_in}",
            allowed="the imported features of whole captions, which are all there",
            to_do="add --tagger none",
        ) from error


@dataclass(frozen=True)
class BankResult:
    """`num_texts` are in the bank, of `num_found` different ones; `unread`: what of them is not read."""

    path: Path
    num_found: int
    num_texts: int
    unread: Unread


def build_bank(
    store: Path,
    texts: Sequence[str],
    *,
    max_texts: int = MAX_BANK_TEXTS,
    tagger: TaggerName = "hanta",
    device: str = "auto",
    seed: int = 0,
    on_progress: Callable[[int, int], None] = lambda num_done, total: None,
) -> BankResult:
    """Encode captions (a random choice of them where there are too many) and keep them as the store's bank.

    Raises:
        InputError: fewer than MIN_BANK_TEXTS different captions.
        StoreError, WeightsError: the store or its backbone.
    """
    opened = FeatureStore(store)
    require_videos(store, len(opened.videos))
    found = list(dict.fromkeys(stripped for text in texts if (stripped := text.strip())))
    if len(found) < MIN_BANK_TEXTS:
        raise InputError(
            f"{len(found)} different captions for a bank",
            allowed=f"at least {MIN_BANK_TEXTS}; fewer do not tell what an unrelated query scores",
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
        *(np.concatenate([getattr(part, name) for part in parts]) for name in ("features", "mask", "was_cut"))
    )
    path = store / BANK_NAME
    sha256 = opened.config.backbone.sha256
    write_text_file(path, chosen, rows, streams=STREAMS, tagger_id=tag.id, backbone_sha256=sha256)
    remove_tables(store, "bank-")
    not_read = unread(chosen, opened.config.backbone, num_cut=num_cut)
    return BankResult(path, len(found), len(chosen), not_read)


def open_text_cache(store: FeatureStore, *, tagger_id: str, max_tokens: int | None = None) -> TextCache:
    """The caption features of a store that were made with its own backbone, the given tagger and limit."""
    return TextCache(
        store.path,
        streams=STREAMS,
        tagger_id=reading_id(tagger_id, max_tokens),
        backbone_sha256=store.config.backbone.sha256,
    )


def reading_id(tagger_id: str, max_tokens: int | None) -> str:
    """How the texts of a file were read: the tagger, and the limit where there is one.

    One name for both, so that a vtr that knows of no limit passes over files that have one.
    """
    return tagger_id if max_tokens is None else f"{tagger_id}+{max_tokens}tokens"
