"""The offline demo corpus: a few hundred short MP4 files and their captions, the same for the same seed.

`plan_corpus` decides what every clip shows, `write_corpus` draws and encodes it. Half of the clips come in
pairs that hold the same frames in opposite orders: only a model that looks at the order tells them apart.
All files have one size, frame rate and codec, so they can be joined without encoding again.
"""

from __future__ import annotations

import csv
import io
import random
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, replace
from itertools import cycle
from pathlib import Path
from typing import Literal

from vtrcli.demo.drawing import draw_clip, encode_clip
from vtrcli.demo.scenes import (
    FRAMES_PER_SECOND,
    ORDERED_ACTIONS,
    OTHER_ACTIONS,
    Scene,
    clip_captions,
    draw_lookalike,
    draw_scene,
)
from vtrcli.errors import InputError, UsageError
from vtrcli.files import make_folder, write_whole
from vtrcli.video.ffmpeg import ffmpeg_binary

Split = Literal["train", "val", "test"]

DEFAULT_NUM_VIDEOS = 400
MIN_NUM_VIDEOS = 6  # one pair in every split
_LOOKALIKE_SHARE = 0.7  # of the clips without a pair: they show the things of a pair in another action
CAPTION_COLUMNS = ("video_id", "caption", "split", "category", "order_pair")


@dataclass(frozen=True)
class DemoClip:
    """One clip. `order_pair` is the id of the clip that holds the same frames in the opposite order."""

    video_id: str
    caption: str
    captions: tuple[str, ...]
    split: Split
    category: str
    order_pair: str | None
    scene: Scene


def plan_corpus(*, num_videos: int = DEFAULT_NUM_VIDEOS, seed: int = 0) -> list[DemoClip]:
    """Decide what each clip shows; no caption occurs twice in the corpus.

    A third of the clips are for testing, a tenth for validation; in every split half are in order pairs.

    Raises:
        UsageError: fewer than six videos.
    """
    if num_videos < MIN_NUM_VIDEOS:
        raise UsageError(
            f"a demo corpus of {num_videos} videos",
            allowed=f"it needs at least {MIN_NUM_VIDEOS}: one pair in every split",
            to_do=f"ask for {MIN_NUM_VIDEOS} or more",
        )
    rng = random.Random(f"vtr demo corpus {seed}")
    told: set[str] = set()
    clips: list[DemoClip] = []
    for split, size in _split_sizes(num_videos).items():
        clips.extend(_plan_split(rng, split=split, size=size, first_number=len(clips), told=told))
    return clips


def write_corpus(
    out_dir: Path,
    *,
    num_videos: int = DEFAULT_NUM_VIDEOS,
    seed: int = 0,
    num_workers: int = 2,
    progress: Callable[[int, int], None] | None = None,
) -> list[DemoClip]:
    """Write `videos/<video_id>.mp4` and `captions.csv` (one row per caption) below `out_dir`.

    Finished files are kept, so an interrupted run goes on where it stopped. `progress(done, total)` is called
    from the calling thread.

    Raises:
        InputError: the folder holds another corpus, cannot be written, or ffmpeg failed.
        UsageError: fewer than six videos.
    """
    clips = plan_corpus(num_videos=num_videos, seed=seed)
    videos = out_dir / "videos"
    allowed = "the demo needs a folder that it can write to"
    make_folder(videos, error=InputError, allowed=allowed, to_do="choose another place")
    _write_captions(out_dir / "captions.csv", clips)
    binary = ffmpeg_binary()
    todo = [clip for clip in clips if not (videos / f"{clip.video_id}.mp4").exists()]
    done = len(clips) - len(todo)
    with ThreadPoolExecutor(max_workers=num_workers) as pool:
        jobs = [
            pool.submit(_write_clip, clip, videos / f"{clip.video_id}.mp4", binary=binary) for clip in todo
        ]
        try:
            for job in as_completed(jobs):
                job.result()
                done += 1
                if progress is not None:
                    progress(done, len(clips))
        finally:
            pool.shutdown(cancel_futures=True)
    return clips


def captions_csv(clips: list[DemoClip]) -> str:
    """The text of `captions.csv`: UTF-8, comma-separated, several rows per video."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(CAPTION_COLUMNS)
    for clip in clips:
        for caption in clip.captions:
            writer.writerow((clip.video_id, caption, clip.split, clip.category, clip.order_pair or ""))
    return text.getvalue()


def _split_sizes(num_videos: int) -> dict[Split, int]:
    num_val = max(2, round(num_videos / 10))
    num_test = max(2, round(num_videos / 3))
    return {"train": num_videos - num_val - num_test, "val": num_val, "test": num_test}


def _plan_split(
    rng: random.Random, *, split: Split, size: int, first_number: int, told: set[str]
) -> Iterator[DemoClip]:
    num_pairs = max(1, round(size / 4))
    pair_actions = cycle(rng.sample(ORDERED_ACTIONS, len(ORDERED_ACTIONS)))
    single_actions = cycle(rng.sample(OTHER_ACTIONS, len(OTHER_ACTIONS)))
    number = first_number
    pairs: list[Scene] = []
    for _ in range(num_pairs):
        scene = _new_scene(rng, next(pair_actions), told)
        pairs.append(scene)
        names = [f"{scene.action}-{number + offset:04d}" for offset in (0, 1)]
        yield _clip(scene, names[0], split=split, order_pair=names[1])
        yield _clip(replace(scene, backwards=True), names[1], split=split, order_pair=names[0])
        number += 2
    while number < first_number + size:
        like = rng.choice(pairs) if rng.random() < _LOOKALIKE_SHARE else None
        scene = _new_scene(rng, next(single_actions), told, like=like)
        yield _clip(scene, f"{scene.action}-{number:04d}", split=split, order_pair=None)
        number += 1


def _new_scene(rng: random.Random, action: str, told: set[str], *, like: Scene | None = None) -> Scene:
    """A scene none of whose captions was used before, if possible a look-alike; `told` is extended."""
    while True:
        lookalike = draw_lookalike(rng, like, actions=(action,)) if like else None
        scene = lookalike or draw_scene(rng, action=action)
        captions = {*clip_captions(scene), *clip_captions(replace(scene, backwards=True))}
        if told.isdisjoint(captions):
            told |= captions
            return scene
        like = None


def _clip(scene: Scene, video_id: str, *, split: Split, order_pair: str | None) -> DemoClip:
    captions = clip_captions(scene)
    return DemoClip(video_id, captions[0], captions, split, scene.action, order_pair, scene)


def _write_captions(path: Path, clips: list[DemoClip]) -> None:
    content = captions_csv(clips).encode()
    if path.exists():
        if path.read_bytes() == content:
            return
        raise InputError(
            f"{path} belongs to another corpus",
            allowed="a demo folder holds one corpus: one seed and one number of videos",
            to_do="choose an empty folder, or delete this one",
        )
    write_whole(path, content, error=InputError)


def _write_clip(clip: DemoClip, path: Path, *, binary: str) -> None:
    encode_clip(draw_clip(clip.scene), path, binary=binary, frames_per_second=FRAMES_PER_SECOND)
