"""Two processes that write one store at the same time may both give a free id away; settled here, after writing.

Writers need no lock, so each looks at the end whether another path was written under one of its ids since it planned.
The path that sorts first keeps the id, the other gets the next free one; both processes come to the same answer.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import replace
from pathlib import Path

from vtrcli.extraction.discover import Candidate
from vtrcli.extraction.identify import choose_video_id
from vtrcli.store.frames import FrameJpegs, frames_of
from vtrcli.store.reader import FeatureStore, Location
from vtrcli.store.records import VideoRecord
from vtrcli.store.writer import StoreWriter


def settle_collisions(
    store: Path, written: Mapping[str, str], old_shards: Set[Path], writer: StoreWriter
) -> list[str]:
    """Give every path of a contested id an id of its own, and return a note for each.

    Args:
        written: video id -> path that this process wrote under it.
        old_shards: those that were there when this process planned; it knew their ids, so they hold no rival.
    """
    reader = FeatureStore(store)
    taken = {name: at.record.path for name, at in reader.videos.items()}
    notes = []
    for video_id, rows in _contested(reader, written, old_shards).items():
        keeper, *others = (rows[path] for path in sorted(rows))
        if taken[video_id] != keeper.record.path:
            _copy(reader, keeper, keeper.record, writer)
            taken[video_id] = keeper.record.path
        for row in others:
            path = Path(row.record.path)
            root = path.parents[len(Path(video_id).parts) - 1]
            new_id, note = choose_video_id(Candidate(path, root), taken)
            if taken.get(new_id) != row.record.path:
                _copy(reader, row, replace(row.record, video_id=new_id), writer)
                taken[new_id] = row.record.path
            if note:
                notes.append(note)
    writer.flush()
    return notes


def _contested(
    reader: FeatureStore, written: Mapping[str, str], old_shards: Set[Path]
) -> dict[str, dict[str, Location]]:
    """Video id -> path -> its newest rows, superseded or not, for the ids that got more than one path since then."""
    found: dict[str, dict[str, Location]] = {}
    for number, shard in enumerate(reader.shards):
        if shard.path not in old_shards:
            offsets = shard.offsets.tolist()
            for record, start, stop in zip(shard.records, offsets, offsets[1:], strict=False):
                if record.video_id in written:
                    location = Location(record, number, start, stop)
                    found.setdefault(record.video_id, {})[record.path] = location
    return {video_id: rows for video_id, rows in found.items() if len(rows) > 1}


def _copy(reader: FeatureStore, at: Location, record: VideoRecord, writer: StoreWriter) -> None:
    shard = reader.shards[at.shard]
    kept = frames_of(reader.path, shard, at)
    writer.add(
        record,
        shard.features[at.start : at.stop],
        shard.timestamps[at.start : at.stop],
        jpegs=FrameJpegs(tuple(kept)) if kept else None,
    )
