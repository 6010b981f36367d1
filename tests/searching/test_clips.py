"""Clips of hits: where they begin and end, what they are called, and that one bad video costs itself only."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.searching.hits import make_hit
from tests.video_files import make_video
from vtrcli.errors import StoreError, VideoError
from vtrcli.files import ABANDONED_SECONDS
from vtrcli.moments.moment import Moment
from vtrcli.searching.clips import MAX_CLIP_SECONDS, MIN_CLIP_SECONDS, clip_name, clip_span, save_clips
from vtrcli.video.probe import probe


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_video(tmp_path_factory.mktemp("clips") / "Pasta al pomodoro.mp4", seconds=6.0)


def span(
    start: float, end: float, duration: float | None, *, peak: float | None = None
) -> tuple[float, float]:
    moment = Moment(start, start if peak is None else peak, end, 0.5)
    return clip_span(moment, duration, min_seconds=MIN_CLIP_SECONDS, max_seconds=MAX_CLIP_SECONDS)


def test_one_file_per_hit_named_after_rank_video_and_time(video: Path, tmp_path: Path) -> None:
    hits = [make_hit(video, (1.0, 4.0)), make_hit(video, (4.96, 5.2), rank=2)]
    told: list[tuple[int, int]] = []
    saved = save_clips(hits, tmp_path / "a" / "b", on_progress=lambda *counts: told.append(counts))
    assert [(hit.rank, path.name) for hit, path in saved if isinstance(path, Path)] == [
        (1, "01-Pasta-al-pomodoro-0m01.0s.mp4"),
        (2, "02-Pasta-al-pomodoro-0m05.0s.mp4"),
    ]
    assert [probe(str(path)).duration_seconds for _, path in saved] == pytest.approx([3.0, 2.0], abs=0.15)
    assert told == [(1, 2), (2, 2)]


def test_a_bad_video_costs_itself_only(video: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(video.read_bytes()[:500])
    hits = [make_hit(tmp_path / "gone.mp4"), make_hit(broken, rank=2), make_hit(video, rank=3)]
    saved = save_clips(hits, tmp_path / "out")
    assert [hit for hit, _ in saved] == hits
    reasons = [made.reason if isinstance(made, VideoError) else made.name for _, made in saved]
    assert reasons == ["not-found", "corrupt", "03-Pasta-al-pomodoro-0m00.0s.mp4"]
    assert [path.name for path in (tmp_path / "out").iterdir()] == [reasons[2]]


def test_a_name_that_is_taken_gets_a_number(video: Path, tmp_path: Path) -> None:
    first = tmp_path / clip_name(make_hit(video))
    first.write_bytes(b"mine")
    names = [save_clips([make_hit(video)], tmp_path)[0][1] for _ in range(2)]
    assert names == [first.with_name(f"{first.stem}-{number}.mp4") for number in (2, 3)]
    assert first.read_bytes() == b"mine"


def test_a_folder_that_cannot_be_made(video: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StoreError) as caught:
        save_clips([make_hit(video)], tmp_path / "file" / "out")
    assert str(caught.value) == (
        f"cannot make the folder {tmp_path}/file/out: Not a directory; "
        "clips go into a folder that exists or can be made; choose another folder"
    )


@pytest.mark.parametrize(
    ("moment", "duration", "expected"),
    [
        ((10.0, 15.0), 60.0, (10.0, 15.0)),
        ((10.0, 10.5), 60.0, (9.25, 11.25)),
        ((7.0, 7.0), 60.0, (6.0, 8.0)),
        ((0.0, 0.5), 60.0, (0.0, 2.0)),
        ((59.5, 60.0), 60.0, (58.0, 60.0)),
        ((59.5, 60.0), None, (58.75, 60.75)),
        ((0.2, 0.4), 1.0, (0.0, 2.0)),
        ((10.0, 10.5), 3.0, (8.5, 10.5)),  # the header lies
    ],
)
def test_a_short_moment_is_widened_within_its_video(
    moment: tuple[float, float], duration: float | None, expected: tuple[float, float]
) -> None:
    assert span(*moment, duration) == pytest.approx(expected)


@pytest.mark.parametrize(("peak", "start"), [(0.0, 0.0), (1800.0, 1740.0), (3600.0, 3480.0)])
def test_of_a_long_moment_the_part_around_its_peak(peak: float, start: float) -> None:
    assert span(0.0, 3600.0, 3600.0, peak=peak) == (start, start + MAX_CLIP_SECONDS)


@pytest.mark.parametrize(
    ("path", "seconds", "name"),
    [
        ("/videos/pasta.mp4", 12.4, "01-pasta-0m12.4s.mp4"),
        ("/videos/a b  c.tar.mkv", 59.96, "01-a-b-c.tar-1m00.0s.mp4"),
        ("/videos/..mp4", 3725.0, "01-video-62m05.0s.mp4"),
        ("/videos/-rf *$(x)`;\n\x1b[31m.mp4", 0.0, "01-rf-x-31m-0m00.0s.mp4"),
        ("/videos/\udce9t\udce9.mp4", 0.0, "01-t-0m00.0s.mp4"),
        ("/videos/Kočka हिन्दी 猫\u202egpj.mp4", 0.0, "01-Kočka-हिन्दी-猫-gpj-0m00.0s.mp4"),
        ("/videos/a\\..\\b:c.mp4", 0.0, "01-a-..-b-c-0m00.0s.mp4"),
    ],
)
def test_names_are_safe(path: str, seconds: float, name: str) -> None:
    assert clip_name(make_hit(path, (seconds, seconds + 1))) == name


@given(st.text(st.characters(), min_size=1, max_size=300))
def test_whatever_the_video_is_called_its_clip_is_a_plain_short_name(stem: str) -> None:
    name = clip_name(make_hit(f"/videos/{stem}"))
    assert len(name.encode()) < 120 and name.isprintable()
    assert Path(name).name == name and "\\" not in name and name.startswith("01-")


def test_what_a_killed_writer_left_goes_when_clips_come_again_and_nothing_else(tmp_path: Path) -> None:
    names = [".tmp-0123456789abcdef.mp4", ".tmp-fedcba9876543210.mp4", ".tmp-notes.mp4", "01-a-0m00.0s.mp4"]
    for name in names:
        (tmp_path / name).write_bytes(b"half")
    hours_ago = time.time() - 2 * ABANDONED_SECONDS
    for name in names[:1] + names[2:]:
        os.utime(tmp_path / name, (hours_ago, hours_ago))
    assert save_clips([], tmp_path) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names[1:])
