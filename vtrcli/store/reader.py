"""Reading a feature store: which videos it holds and where their rows lie. Opens headers only."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from vtrcli.errors import StoreError
from vtrcli.store.config import SHARD_FOLDER, StoreConfig, read_config
from vtrcli.store.maps import again_if_gone, allow_open_files
from vtrcli.store.records import VideoRecord
from vtrcli.store.roots import NO_ROOTS, Roots, read_roots
from vtrcli.store.shard import Shard, are_valid_offsets, damaged, open_shard

# Of nanoseconds since 1970, which names of shards begin with: those of equal length sort by them.
NUMBER_DIGITS = 20


@dataclass(frozen=True, slots=True)
class Location:
    """Rows `start` to `stop` of shard number `shard`."""

    record: VideoRecord
    shard: int
    start: int
    stop: int

    @property
    def num_frames(self) -> int:
        """Frames kept of this video."""
        return self.stop - self.start


class FeatureStore:
    """A read-only view of a store as it is at this moment; shards written later are not seen, and those that
    `vtr store compact` deletes are read on.

    Args:
        earlier: a view of the same store from before; what it read of shards that are still there is not read again.

    Raises:
        StoreError: no store, a newer format, a damaged shard, or one of another backbone; `videos` raises it for
            offsets that do not cut a shard's rows.
    """

    def __init__(self, path: str | Path, *, earlier: FeatureStore | None = None) -> None:
        self.path = Path(path)
        self.config: StoreConfig = read_config(self.path)
        self.roots: Roots = read_roots(self.path)
        # Where a folder is another now, so are the paths of the records.
        is_usable = earlier is not None and earlier.roots.key == self.roots.key
        known = {shard.path: shard for shard in earlier.shards} if earlier and is_usable else {}
        self.shards: list[Shard] = again_if_gone(lambda: self._open(known))

    def __repr__(self) -> str:
        tag = self.config.backbone
        counts = (
            f"{len(self.videos):,} videos, {self.num_frames:,} frames of {tag.name}, {tag.dim} dimensions"
        )
        return f"<FeatureStore {str(self.path)!r}: {counts}>"

    def _open(self, known: Mapping[Path, Shard]) -> list[Shard]:
        paths = shard_paths(self.path)
        allow_open_files(len(paths))
        return [
            shard
            if (shard := known.get(path)) is not None and shard.file.is_still_there()
            else open_shard_of(self.config, path, self.roots)
            for path in paths
        ]

    @cached_property
    def videos(self) -> dict[str, Location]:
        """Per video id, in the order of the ids; a later shard supersedes an earlier one or takes its videos away."""
        found: dict[str, Location] = {}
        for number, shard in enumerate(self.shards):
            check_offsets(shard)
            for video_id in shard.removed:
                found.pop(video_id, None)
            found.update((at.record.video_id, at) for at in self._rows_of(number))
        return {video_id: found[video_id] for video_id in sorted(found)}

    def rows(self) -> Iterator[Location]:
        """Every row range, superseded and removed ones too, oldest first."""
        for number, shard in enumerate(self.shards):
            check_offsets(shard)
            yield from self._rows_of(number)

    def _rows_of(self, number: int) -> Iterator[Location]:
        offsets = self.shards[number].offsets.tolist()
        for record, start, stop in zip(self.shards[number].records, offsets, offsets[1:], strict=False):
            yield Location(record, number, start, stop)

    @property
    def paths(self) -> dict[str, str]:
        """Per video id the path of its file."""
        return {video_id: location.record.path for video_id, location in self.videos.items()}

    @property
    def num_frames(self) -> int:
        """Frames over all current videos."""
        return sum(location.num_frames for location in self.videos.values())

    def features(self, video_id: str) -> np.ndarray:
        """[num_frames, dim] float16, not normalised; read now."""
        location = self.videos[video_id]
        return self.shards[location.shard].features[location.start : location.stop]

    def timestamps(self, video_id: str) -> np.ndarray:
        """[num_frames] float32, seconds from the start of the video."""
        location = self.videos[video_id]
        return self.shards[location.shard].timestamps[location.start : location.stop]

    def live(self, number: int) -> list[int]:
        """Which videos of a shard count: their numbers among those of the shard."""
        starts = self.shards[number].offsets.tolist()
        return [
            position
            for position, record in enumerate(self.shards[number].records)
            if (location := self.videos.get(record.video_id)) is not None
            and (location.shard, location.start) == (number, starts[position])
        ]

    def by_shard(self) -> Iterator[tuple[Shard, list[Location]]]:
        """Each shard with its current videos in row order, for passes over everything."""
        groups: dict[int, list[Location]] = {}
        for location in self.videos.values():
            groups.setdefault(location.shard, []).append(location)
        for number, locations in sorted(groups.items()):
            yield self.shards[number], sorted(locations, key=lambda location: location.start)


def unit_rows(vectors: np.ndarray) -> np.ndarray:
    """float32 [num_rows, dim] with rows of length 1; a zero row stays zero."""
    rows = vectors.astype(np.float32)
    norms = np.linalg.norm(rows, axis=-1, keepdims=True)
    rows /= np.maximum(norms, np.finfo(np.float32).tiny)
    return rows


def shard_paths(store: Path) -> list[Path]:
    """The shard files in the order in which they supersede each other (their names begin with the time)."""
    return sorted((store / SHARD_FOLDER).glob("[!.]*.safetensors"))


def is_compacted(path: Path) -> bool:
    """Whether a shard holds rows of earlier shards. `_` sorts behind the `-` of other names."""
    return path.name[NUMBER_DIGITS : NUMBER_DIGITS + 1] == "_"


def require_videos(store: Path, num_videos: int) -> None:
    """Raises StoreError for a store that holds no video yet."""
    if not num_videos:
        raise StoreError(
            f"store {store} holds no video yet",
            allowed="a store with at least one video",
            to_do=f"fill it with `vtr extract FOLDER --store {store}`",
        )


def open_shard_of(config: StoreConfig, path: Path, roots: Roots = NO_ROOTS) -> Shard:
    """Open a shard by its header. Raises StoreError where it is damaged or does not belong to the store of `config`."""
    shard = open_shard(path, roots)
    _refuse(shard, backbone_problem(shard, config))
    return shard


def check_offsets(shard: Shard) -> None:
    """Raises StoreError unless the offsets give each video its rows; reads the offsets only."""
    _refuse(shard, offsets_problem(shard))


def backbone_problem(shard: Shard, config: StoreConfig) -> str | None:
    """How a shard's header disagrees with `store.json`."""
    dim = shard.file.shape("features")[1]
    if dim != config.backbone.dim:
        return f"features have {dim} dimensions, the store {config.backbone.dim}"
    if shard.file.metadata.get("backbone_sha256") != config.backbone.sha256:
        return "the features are of another backbone"
    return None


def offsets_problem(shard: Shard) -> str | None:
    """Whether the offsets give each video its rows; reads the offsets only."""
    if not are_valid_offsets(shard.offsets, shard.file.shape("features")[0]):
        return "the offsets do not cut the rows into videos"
    return None


def _refuse(shard: Shard, problem: str | None) -> None:
    if problem:
        raise damaged(shard.path, problem)


def padded_frames(
    store: FeatureStore, video_ids: Sequence[str], *, num_frames: int
) -> tuple[np.ndarray, np.ndarray]:
    """Features and mask of videos of a store, as `padded`."""
    features = [store.features(video_id) for video_id in video_ids]
    return padded(features, num_frames=num_frames, dim=store.config.backbone.dim)


def padded(features: Sequence[np.ndarray], *, num_frames: int, dim: int) -> tuple[np.ndarray, np.ndarray]:
    """Features float16 [num_videos, num_frames, dim], zeros behind the last frame, and their mask, bool
    [num_videos, num_frames]; videos with more frames are thinned evenly.

    Args:
        features: per video float [its frames, dim].
    """
    frames = np.zeros((len(features), num_frames, dim), np.float16)
    mask = np.zeros((len(features), num_frames), bool)
    for row, rows in enumerate(features):
        chosen = rows[spread(len(rows), num_frames)]
        frames[row, : len(chosen)] = chosen
        mask[row, : len(chosen)] = True
    return frames, mask


def spread(num_there: int, num_wanted: int) -> np.ndarray:
    """Indices of `num_wanted` of `num_there` things, the centres of equal parts; all of them when fewer."""
    if num_there <= num_wanted:
        return np.arange(num_there)
    return ((np.arange(num_wanted) + 0.5) * num_there / num_wanted).astype(np.int64)
