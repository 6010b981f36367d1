"""Stores as they were made when frames were kept as the encoder saw them."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import numpy as np

from vtrcli.files import write_whole
from vtrcli.store.frames import FRAME_FOLDER, FrameJpegs, FrameShard, encode_jpegs, frame_shard_bytes
from vtrcli.store.reader import FeatureStore
from vtrcli.video.reader import open_video
from vtrcli.video.sampling import Sampling


def keep_what_was_seen(store: Path, only: Collection[str] | None = None) -> None:
    """Put what the encoder saw in the place of the kept frames of a store's videos."""
    opened = FeatureStore(store)
    sampling = Sampling.from_json(opened.config.sampling)
    for shard, locations in opened.by_shard():
        path = store / FRAME_FOLDER / shard.path.name
        kept = []
        for at in locations:
            video_id = at.record.video_id
            images = FrameJpegs(tuple(FrameShard(path).images(video_id)))
            if only is None or video_id in only:
                with open_video(at.record.path, sampling, size=opened.config.framing) as reader:
                    images = FrameJpegs(encode_jpegs(np.concatenate([batch.pixels for batch in reader])))
            kept.append((video_id, images, opened.timestamps(video_id)))
        path.unlink()
        write_whole(path, frame_shard_bytes(kept))
