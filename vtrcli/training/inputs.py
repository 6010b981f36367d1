"""The videos and captions that a run learns from: a data set joined with a store, as features or as kept frames."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from vtrcli.datasets.join import JoinedSplit, join_with_store, require_complete
from vtrcli.datasets.registry import available_splits, load_split
from vtrcli.model.train_settings import TrainSettings
from vtrcli.store.reader import FeatureStore
from vtrcli.text.cache import cache_texts, open_text_cache
from vtrcli.text.streams import STREAMS, Stream
from vtrcli.text.taggers import TaggerName, load_tagger
from vtrcli.training.data import AnySet, FeatureSet, load_features, split_off, too_few
from vtrcli.training.distributed import World
from vtrcli.training.frame_batches import FrameSet, load_frame_set
from vtrcli.training.kept_frames import KeptFrames
from vtrcli.training.session import Display


def join_splits(
    store: FeatureStore,
    dataset: str,
    annotations: Path,
    *,
    allow_missing: bool,
    note: Callable[[str], None],
) -> list[JoinedSplit]:
    """The training split and, where the data set has one, the validation split; never the test split.

    Raises:
        InputError: the data set's files, or videos that the store lacks (unless `allow_missing`).
    """
    parts: list[JoinedSplit] = []
    for name in ("train", "val"):
        if name in available_splits(dataset, annotations):
            split = load_split(dataset, annotations, name)
            parts.append(join_with_store(split, store.videos, paths=store.paths))
            require_complete(parts[-1], allow_missing=allow_missing)
            if parts[-1].missing_videos:
                note(f"{name}: {len(parts[-1].missing_videos):,} videos are not in the store, left out")
    return parts


def cached_sets(
    store: FeatureStore,
    parts: Sequence[JoinedSplit],
    settings: TrainSettings,
    *,
    tagger: TaggerName,
    device: str,
    world: World,
    display: Display,
) -> list[FeatureSet]:
    """Cached features, the experts' streams only; captions that are not cached yet are encoded first."""
    captions = [caption.text for part in parts for caption in part.captions]
    tagger_id = load_tagger(tagger).id
    limit = settings.max_tokens
    if open_text_cache(store, tagger_id=tagger_id, max_tokens=limit).missing(captions):
        if world.is_first:
            display.note("encoding captions that are not cached yet")
            cache_texts(
                store,
                captions,
                tagger=tagger,
                max_tokens=limit,
                device=device,
                on_progress=display.cache_progress,
            )
        if world.size > 1:
            torch.distributed.barrier()
    texts = open_text_cache(store, tagger_id=tagger_id, max_tokens=limit)
    return [
        with_streams(load_features(store, part, texts, num_frames=settings.num_frames), settings.experts)
        for part in parts
    ]


def frame_sets(
    store: FeatureStore,
    parts: Sequence[JoinedSplit],
    settings: TrainSettings,
    *,
    tagger: TaggerName,
    size: int,
    context_length: int,
    display: Display,
) -> list[FrameSet]:
    """Kept frames and tokens. Raises StoreError when the store keeps no frames of a video."""
    kept = KeptFrames(store, (video_id for part in parts for video_id in part.video_ids))
    loaded = load_tagger(tagger)
    return [
        load_frame_set(
            kept,
            part,
            tagger=loaded,
            experts=settings.experts,
            num_frames=settings.num_frames,
            size=size,
            context_length=context_length,
            max_tokens=settings.max_tokens,
            on_progress=display.cache_progress,
        )
        for part in parts
    ]


def train_and_val(sets: Sequence[AnySet], settings: TrainSettings) -> tuple[AnySet, AnySet]:
    """What to train on and what to validate with; without a validation split a share of the training videos is.

    Raises:
        InputError: too few videos.
    """
    if len(sets) == 1:
        return split_off(sets[0], share=settings.val_share, seed=settings.seed)
    if len(sets[0].video_ids) < 2:
        raise too_few(len(sets[0].video_ids), 2)
    return sets[0], sets[1]


def with_streams(features: FeatureSet, experts: Sequence[Stream]) -> FeatureSet:
    """The feature set with the text streams of the given experts, in their order."""
    columns = [STREAMS.index(expert) for expert in experts]
    return replace(features, texts=features.texts[:, columns], stream_mask=features.stream_mask[:, columns])
