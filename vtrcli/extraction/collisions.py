"""Two processes that write one store at the same time may both give a free id away; settled here, after writing.

Writers need no lock, so each looks at the end whether another path was written under one of its ids since it planned.
The path that sorts first keeps the id, the other gets the next free one; both processes come to the same answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from vtrcli.extraction.discover import Candidate
from vtrcli.extraction.identify import choose_video_id
from vtrcli.store.frames import FrameJpegs, frames_of
from vtrcli.store.reader import FeatureStore, Location
from vtrcli.store.records import VideoRecord
from vtrcli.store.writer import StoreWriter


@dataclass(frozen=True)
class _Row:
    """One record wherever it lies, superseded or not."""

    record: VideoRecord
    location: Location


def settle_collisions(
    store: Path, written: Mapping[str, str], known: Mapping[str, str], writer: StoreWriter
) -> list[str]:
    """Give every path of a contested id an id of its own, and return a note for each.

    Args:
        written: video id -> path that this process wrote under it.
        known: video id -> path when this process planned; superseding that one was meant (a moved file).
    """
    reader = FeatureStore(store)
    taken = {name: at.record.path for name, at in reader.videos.items()}
    notes = []
    for video_id, rows in _contested(reader, written, known).items():
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
    reader: FeatureStore, written: Mapping[str, str], known: Mapping[str, str]
) -> dict[str, dict[str, _Row]]:
    """Video id -> path -> its newest row, for the ids under which more than one path was written."""
    found: dict[str, dict[str, _Row]] = {}
    for number, shard in enumerate(reader.shards):
        offsets = shard.offsets.tolist()
        for record, start, stop in zip(shard.records, offsets, offsets[1:], strict=False):
            mine = written.get(record.video_id)
            if mine is not None and (record.path == mine or record.path != known.get(record.video_id)):
                location = Location(record, number, start, stop)
                found.setdefault(record.video_id, {})[record.path] = _Row(record, location)
    return {video_id: rows for video_id, rows in found.items() if len(rows) > 1}


def _copy(reader: FeatureStore, row: _Row, record: VideoRecord, writer: StoreWriter) -> None:
    at = row.location
    shard = reader.shards[at.shard]
    kept = frames_of(reader.path, shard, at)
    writer.add(
        record,
        shard.features[at.start : at.stop],
        shard.timestamps[at.start : at.stop],
        jpegs=FrameJpegs(tuple(kept)) if kept else None,
    )
