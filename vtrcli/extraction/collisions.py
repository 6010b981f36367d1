"""Two processes that write one store at the same time may both give a free id away; settled here, after writing.

Writers need no lock, so each looks at the end whether another path was written under one of its ids since it planned.
The path that sorts first keeps the id, the other gets the next free one; both processes come to the same answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from vtrcli.extraction.discover import Candidate
from vtrcli.extraction.recognize import choose_video_id
from vtrcli.store.frames import FrameJpegs, frames_of
from vtrcli.store.reader import FeatureStore, Location
from vtrcli.store.records import VideoRecord
from vtrcli.store.writer import StoreWriter


def settle_collisions(
    store: Path, written: Mapping[str, str], planned: FeatureStore, writer: StoreWriter
) -> list[str]:
    """Give every path of a contested id an id of its own, and return a note for each.

    Args:
        written: video id -> path that this process wrote under it.
        planned: the store when this process planned; it knew these rows' ids, so that none of them is a rival, wherever
            `compact` may have put them since.
    """
    reader = FeatureStore(store)
    taken = {name: at.record.path for name, at in reader.videos.items()}
    notes = []
    for video_id, rows in _contested(reader, written, planned).items():
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
    reader: FeatureStore, written: Mapping[str, str], planned: FeatureStore
) -> dict[str, dict[str, Location]]:
    """Video id -> path -> its newest rows, superseded or not, for the ids that got more than one path since then."""
    known = {
        _place(record) for shard in planned.shards for record in shard.records if record.video_id in written
    }
    old_shards = {shard.path for shard in planned.shards}
    found: dict[str, dict[str, Location]] = {}
    for number, shard in enumerate(reader.shards):
        if shard.path in old_shards:
            continue
        offsets = shard.offsets.tolist()
        for record, start, stop in zip(shard.records, offsets, offsets[1:], strict=False):
            is_own = written.get(record.video_id) == record.path
            if record.video_id in written and (is_own or _place(record) not in known):
                location = Location(record, number, start, stop)
                found.setdefault(record.video_id, {})[record.path] = location
    return {video_id: rows for video_id, rows in found.items() if len(rows) > 1}


def _place(record: VideoRecord) -> tuple[str, str | None, str]:
    """Id and place of a row, whatever its root's folder is now."""
    return record.video_id, record.root, record.relative_path or record.path


def _copy(reader: FeatureStore, at: Location, record: VideoRecord, writer: StoreWriter) -> None:
    shard = reader.shards[at.shard]
    kept = frames_of(reader.path, shard, at)
    writer.add(
        record,
        shard.features[at.start : at.stop],
        shard.timestamps[at.start : at.stop],
        jpegs=FrameJpegs(tuple(kept)) if kept else None,
    )
