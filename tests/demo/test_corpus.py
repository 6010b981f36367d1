from __future__ import annotations

import csv
import io
import subprocess
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from vtrcli.demo.corpus import CAPTION_COLUMNS, DemoClip, captions_csv, plan_corpus, write_corpus
from vtrcli.demo.drawing import draw_clip
from vtrcli.demo.scenes import FRAME_SIZE
from vtrcli.errors import InputError, UsageError
from vtrcli.video.ffmpeg import ffmpeg_binary


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[DemoClip]]:
    folder = tmp_path_factory.mktemp("corpus")
    return folder, write_corpus(folder, num_videos=8, seed=3)


def _decode(path: Path) -> np.ndarray:
    command = [
        ffmpeg_binary(),
        "-v",
        "error",
        "-i",
        str(path),
        "-f",
        "rawvideo",
        "-pix_fmt",
        "rgb24",
        "-",
    ]
    raw = subprocess.run(command, capture_output=True, check=True).stdout
    return np.frombuffer(raw, np.uint8).reshape(-1, FRAME_SIZE, FRAME_SIZE, 3)


def test_a_plan_depends_on_its_seed_alone() -> None:
    assert plan_corpus(num_videos=40, seed=1) == plan_corpus(num_videos=40, seed=1)
    assert plan_corpus(num_videos=40, seed=1) != plan_corpus(num_videos=40, seed=2)


@pytest.mark.parametrize("num_videos", [6, 7, 12, 99, 400])
def test_every_split_has_order_pairs_and_the_number_is_kept(num_videos: int) -> None:
    clips = plan_corpus(num_videos=num_videos)
    by_id = {clip.video_id: clip for clip in clips}
    assert len(by_id) == len(clips) == num_videos
    paired = [clip for clip in clips if clip.order_pair is not None]
    assert {clip.split for clip in paired} == {"train", "val", "test"}
    for clip in paired:
        other = by_id[clip.order_pair or ""]
        assert other.order_pair == clip.video_id
        assert (other.split, other.category) == (clip.split, clip.category)
        assert other.scene.backwards != clip.scene.backwards


def test_the_default_corpus_has_a_hundred_videos_and_more_to_test_on() -> None:
    splits = Counter(clip.split for clip in plan_corpus())
    assert splits == {"train": 227, "val": 40, "test": 133}


def test_no_caption_occurs_twice() -> None:
    captions = [caption for clip in plan_corpus() for caption in clip.captions]
    assert len(set(captions)) == len(captions) == 1200


def test_captions_csv_round_trip() -> None:
    clips = plan_corpus(num_videos=12)
    rows = list(csv.DictReader(io.StringIO(captions_csv(clips))))
    assert tuple(rows[0]) == CAPTION_COLUMNS
    for clip in clips:
        mine = [row for row in rows if row["video_id"] == clip.video_id]
        assert tuple(row["caption"] for row in mine) == clip.captions
        assert {(row["split"], row["category"], row["order_pair"]) for row in mine} == {
            (clip.split, clip.category, clip.order_pair or "")
        }


def test_every_clip_decodes_to_its_frames(corpus: tuple[Path, list[DemoClip]]) -> None:
    folder, clips = corpus
    assert {path.name for path in (folder / "videos").iterdir()} == {f"{clip.video_id}.mp4" for clip in clips}
    for clip in clips:
        decoded = _decode(folder / "videos" / f"{clip.video_id}.mp4")
        drawn = draw_clip(clip.scene)
        assert decoded.shape == drawn.shape
        assert np.abs(decoded.astype(int) - drawn).mean() < 6


def test_the_same_clip_is_written_with_the_same_bytes(
    corpus: tuple[Path, list[DemoClip]], tmp_path: Path
) -> None:
    folder, clips = corpus
    write_corpus(tmp_path, num_videos=8, seed=3, num_workers=1)
    for clip in clips:
        name = f"videos/{clip.video_id}.mp4"
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()


def test_a_second_run_writes_only_what_is_missing(tmp_path: Path) -> None:
    clips = write_corpus(tmp_path, num_videos=6)
    kept, lost = (tmp_path / "videos" / f"{clip.video_id}.mp4" for clip in clips[:2])
    before = kept.stat().st_mtime_ns
    lost.unlink()
    seen: list[tuple[int, int]] = []
    write_corpus(tmp_path, num_videos=6, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(6, 6)]
    assert kept.stat().st_mtime_ns == before
    assert lost.exists()


def test_a_folder_with_another_corpus_is_refused(tmp_path: Path) -> None:
    (tmp_path / "captions.csv").write_text("video_id,caption\n")
    with pytest.raises(InputError) as caught:
        write_corpus(tmp_path, num_videos=6)
    assert str(caught.value) == (
        f"{tmp_path / 'captions.csv'} belongs to another corpus; "
        "a demo folder holds one corpus: one seed and one number of videos; "
        "choose an empty folder, or delete this one"
    )
    assert not list((tmp_path / "videos").glob("*"))


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(InputError, match="cannot make the folder"):
        write_corpus(tmp_path / "taken", num_videos=6)


def test_too_few_videos_are_refused() -> None:
    with pytest.raises(UsageError, match="a demo corpus of 5 videos"):
        plan_corpus(num_videos=5)
