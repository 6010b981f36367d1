"""Films joined from the demo's clips at known times: a store of them, and whose they are as a truth of moments.

The features and the kept frames of each clip follow each other as they would in a film of these clips; nothing is
decoded or encoded again.
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from tests.store.stores import make_record
from vtrcli.store.config import create_config
from vtrcli.store.frames import FrameJpegs, frames_of
from vtrcli.store.reader import FeatureStore
from vtrcli.store.writer import StoreWriter

CLIPS_PER_FILM = 4


def make_films(demo: Path, folder: Path, *, num_films: int = 3) -> None:
    """store/ with film0, film1 …, and captions.csv with `start` and `end`, two captions per clip, below `folder`."""
    clips, captions = FeatureStore(demo / "store"), _captions(demo / "captions.csv")
    create_config(folder / "store", clips.config)
    writer = StoreWriter(folder / "store", backbone_sha256=clips.config.backbone.sha256)
    # Clips that are pairs hold the same frames: only one of each.
    names = list(captions)[::2]
    with open(folder / "captions.csv", "w", newline="") as file:
        table = csv.writer(file)
        table.writerow(("video_id", "caption", "start", "end", "duration"))
        for number in range(num_films):
            mine = names[number * CLIPS_PER_FILM :][:CLIPS_PER_FILM]
            borders = _write_film(writer, clips, f"film{number}", [f"{name}.mp4" for name in mine])
            for name, start, end in zip(mine, borders, borders[1:], strict=False):
                for text in captions[name][:2]:
                    table.writerow((f"film{number}", text, start, end, borders[-1]))
    writer.flush()


def _captions(path: Path) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    with open(path, newline="") as file:
        for row in csv.DictReader(file):
            found.setdefault(row["video_id"], []).append(row["caption"])
    return found


def _write_film(writer: StoreWriter, clips: FeatureStore, film: str, names: list[str]) -> list[float]:
    """Where the clips begin, and where the last one ends, in seconds."""
    places = [clips.videos.get(name) or clips.videos[name.removesuffix(".mp4")] for name in names]
    ids = [place.record.video_id for place in places]
    lengths = [place.record.duration_seconds or 0.0 for place in places]
    borders = np.cumsum([0.0, *lengths]).round(3).tolist()
    times = [clips.timestamps(name) + start for name, start in zip(ids, borders, strict=False)]
    images = [frames_of(clips.path, clips.shards[place.shard], place) or () for place in places]
    writer.add(
        make_record(film, duration_seconds=borders[-1]),
        np.concatenate([clips.features(name) for name in ids]),
        np.concatenate(times),
        jpegs=FrameJpegs(tuple(image for part in images for image in part)),
    )
    return [float(border) for border in borders]
