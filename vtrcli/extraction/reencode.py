"""A store of another backbone from kept frames, without decoding a video again. `vtr cache --backbone`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from vtrcli.errors import StoreError
from vtrcli.extraction.extract import store_config
from vtrcli.model.backbone import Backbone, FrameBatcher, default_batch_size
from vtrcli.model.families import load_backbone
from vtrcli.store.config import writing
from vtrcli.store.frames import FRAME_FOLDER, FrameJpegs, decode_frame, frames_of, require_same_cut
from vtrcli.store.reader import FeatureStore, Location
from vtrcli.store.records import VideoRecord
from vtrcli.store.roots import add_roots
from vtrcli.store.shard import damaged
from vtrcli.store.writer import StoreWriter
from vtrcli.video.sampling import Sampling


def reencode_frames(
    source: Path,
    *,
    target: Path,
    backbone: str,
    device: str = "auto",
    on_progress: Callable[[int, int], None] = lambda num_done, total: None,
) -> int:
    """Make a store of another backbone from the kept frames of `source`, without decoding a video again.

    Frames are resized from the size at which they were kept, so a larger input gains no detail. Videos that
    `target` has already are passed over.

    Returns:
        The number of videos encoded.

    Raises:
        StoreError: the source keeps no frames or frames of another shape, or the target is of another backbone.
    """
    opened = FeatureStore(source)
    loaded = load_backbone(backbone, device=device, towers="image")
    sampling = Sampling.from_json(opened.config.sampling)
    require_same_cut(opened, loaded.preprocessing)
    config = store_config(loaded, sampling, opened.config.aspect)
    with writing(target, config):
        present = {
            (name, at.record.fingerprint, at.record.content)
            for name, at in FeatureStore(target).videos.items()
        }
        todo = [
            at
            for name, at in opened.videos.items()
            if (name, at.record.fingerprint, at.record.content) not in present
        ]
        names = add_roots(
            target, [replace(root, origin=root.folder) for root in opened.roots.by_name.values()]
        )
        writer = StoreWriter(target, backbone_sha256=loaded.info.sha256, config=config)
        try:
            for number, location in enumerate(todo, start=1):
                record = replace(location.record, root=names.get(location.record.root or ""))
                _reencode_one(opened, location, record, loaded, writer)
                on_progress(number, len(todo))
        finally:
            writer.flush()
        return len(todo)


def _reencode_one(
    source: FeatureStore,
    location: Location,
    record: VideoRecord,
    backbone: Backbone,
    writer: StoreWriter,
) -> None:
    images = frames_of(source.path, source.shards[location.shard], location)
    if images is None:
        raise StoreError(
            f"store {source.path} keeps no frames of {location.record.video_id!r}",
            allowed="a store made with --keep-frames",
            to_do="run `vtr extract --keep-frames` into a new store",
        )
    size = backbone.preprocessing
    batch_size = default_batch_size(backbone.device)
    batcher = FrameBatcher(backbone.encode_images, batch_size=batch_size, input_size=size)
    try:
        pixels = np.stack([decode_frame(image, size=size) for image in images])
    except OSError as cause:  # Pillow's errors about a file's content
        path = source.path / FRAME_FOLDER / source.shards[location.shard].path.name
        raise damaged(path, f"a frame of {location.record.video_id!r}: {cause}") from cause
    rows = [features for _, features in [*batcher.push(0, pixels), *batcher.flush()]]
    writer.add(
        record,
        np.concatenate(rows),
        source.timestamps(location.record.video_id),
        jpegs=FrameJpegs(tuple(images)),
    )
