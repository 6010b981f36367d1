"""A store of another backbone from kept frames, without decoding a video again. `vtr cache --backbone`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from vtrcli.errors import StoreError
from vtrcli.extraction.settings import store_config
from vtrcli.model.backbone import Backbone, Precision, default_batch_size
from vtrcli.model.families import load_backbone
from vtrcli.model.frame_batches import FrameBatcher, Lane, lanes_of
from vtrcli.store.compact import require_sound
from vtrcli.store.config import require_extracted, writing
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
    precision: Precision = "auto",
    on_progress: Callable[[int, int], None] = lambda num_done, total: None,
) -> int:
    """Make a store of another backbone from the kept frames of `source`, without decoding a video again.

    Whole pictures serve any backbone, framed as it wants them; frames that an older program kept as the encoder saw
    them only those of the same cut. They are resized from the size at which they were kept, so a larger input gains no
    detail. The backbone of the source gets its features as they are. Videos that `target` has already are passed over.

    Returns:
        The number of videos encoded.

    Raises:
        StoreError: the source keeps no frames, damaged ones or those of another cut; the target has another backbone.
    """
    opened = FeatureStore(source)
    require_extracted(source, opened.config)
    loaded = load_backbone(backbone, device=device, precision=precision, towers="image")
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
        is_same = (config.backbone.sha256, config.preprocessing) == (
            opened.config.backbone.sha256,
            {"aspect": "display", **opened.config.preprocessing},
        )
        batch_size = default_batch_size(loaded.device)
        encoder = None if is_same else _Encoder(loaded, lanes_of(loaded, batch_size=batch_size))
        writer = StoreWriter(target, backbone_sha256=loaded.info.sha256, config=config)
        for number in sorted({location.shard for location in todo}):
            frames = source / FRAME_FOLDER / opened.shards[number].path.name
            require_sound(opened.shards[number], frames if frames.exists() else None)
        try:
            for number, location in enumerate(todo, start=1):
                record = replace(location.record, root=names.get(location.record.root or ""))
                _reencode_one(opened, location, record, encoder, writer)
                on_progress(number, len(todo))
        finally:
            writer.flush()
        return len(todo)


def _reencode_one(
    source: FeatureStore,
    location: Location,
    record: VideoRecord,
    encoder: _Encoder | None,
    writer: StoreWriter,
) -> None:
    """None for an encoder: the source's features are right."""
    images = frames_of(source.path, source.shards[location.shard], location)
    if images is None:
        raise StoreError(
            f"store {source.path} keeps no frames of {location.record.video_id!r}",
            allowed="a store made with --keep-frames",
            to_do="run `vtr extract --keep-frames` into a new store",
        )
    video_id = location.record.video_id
    if encoder is None:
        features = source.features(video_id)
    else:
        try:
            features = encoder.encode(images)
        except OSError as cause:  # Pillow's errors about a file's content
            path = source.path / FRAME_FOLDER / source.shards[location.shard].path.name
            raise damaged(path, f"a frame of {video_id!r}: {cause}") from cause
        record = replace(record, precision=encoder.backbone.precision)
    writer.add(record, features, source.timestamps(video_id), jpegs=FrameJpegs(tuple(images)))


@dataclass(frozen=True)
class _Encoder:
    """A backbone, and where its batches lie: pinned memory is too slow to get for every video."""

    backbone: Backbone
    lanes: Sequence[Lane]

    def encode(self, images: list[bytes]) -> np.ndarray:
        """float32 [num_images, dim]; OSError for what is no picture."""
        batcher, size = FrameBatcher(self.lanes), self.backbone.preprocessing
        done = []
        try:
            for begin in range(0, len(images), batcher.batch_size):
                part = images[begin : begin + batcher.batch_size]
                done += batcher.push(0, np.stack([decode_frame(image, size=size) for image in part]))
            done += batcher.flush()
        finally:
            batcher.close()
        return np.concatenate([features for _, features in done])
