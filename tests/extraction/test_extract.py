"""`extract` on real tiny videos: resume, change, duplicates, failures, interruption - nothing is lost."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import vtrcli as vtr
from tests.model.tiny_clip import write_overflowing_clip, write_tiny_clip
from tests.store.old_frames import keep_what_was_seen
from tests.store.stores import make_config
from tests.video.clips import make_video as encode_clip
from tests.video.clips import numbered
from tests.video_files import make_video
from vtrcli.errors import InputError, NotFiniteError, StoreError, UsageError
from vtrcli.extraction import pipeline
from vtrcli.extraction.discover import Part
from vtrcli.extraction.extract import ExtractResult, extract
from vtrcli.store.config import BackboneInfo, create_config
from vtrcli.store.failures import read_failures
from vtrcli.store.frames import frames_of, is_whole, kept_frames, open_frame
from vtrcli.store.reader import FeatureStore
from vtrcli.store.verify import verify
from vtrcli.video.sampling import SAMPLINGS, Sampling, Uniform

SAMPLING = Uniform(num_frames=4)


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sources")
    for number in range(4):
        make_video(folder / f"clip{number}.mp4", seconds=1.0, hue=90 * number)
    (folder / "broken.mp4").write_bytes(b"this is no video")
    return folder


@pytest.fixture
def videos(sources: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sources, tmp_path / "videos"))


def run(videos: Path, weights: str, store: Path, **options: object) -> ExtractResult:
    return extract([videos], store=store, backbone=weights, sampling=SAMPLING, device="cpu", **options)  # type: ignore[arg-type]


def features_of(store: Path) -> dict[str, bytes]:
    opened = FeatureStore(store)
    return {
        video_id: opened.features(video_id).tobytes() + opened.timestamps(video_id).tobytes()
        for video_id in opened.videos
    }


@dataclass(frozen=True, kw_only=True)
class Closing(Sampling):
    """A plan of somebody else's: ever denser towards the end."""

    mode = "closing"
    num_frames: int = 4

    def times(self, duration_seconds: float) -> NDArray[np.float64]:
        return duration_seconds * (1 - 0.5 ** np.arange(self.at_most(self.num_frames)))

    def words(self) -> str:
        return f"{self.num_frames} frames, most of the end"


@pytest.mark.parametrize("name", ["a.mp4", "a.ts"])
def test_a_plan_is_a_class_and_a_row_of_the_table(
    name: str, weights: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(SAMPLINGS, Closing.mode, Closing)
    video, store = numbered(tmp_path / name, rate=10, seconds=4), tmp_path / "store"
    done = vtr.extract(video, store, backbone=weights, sampling=Closing(), device="cpu")
    assert done.num_extracted == 1 and done.warnings == []
    opened = vtr.FeatureStore(store)
    assert opened.timestamps("a") == pytest.approx([0, 2, 3, 3.5])
    assert opened.config.sampling == {"mode": "closing", "num_frames": 4, "max_frames": None}
    assert Sampling.from_json(opened.config.sampling) == Closing()
    assert (
        vtr.extract(video, store, backbone=weights, device="cpu").num_skipped == 1
    )  # by the store's own plan
    with pytest.raises(UsageError, match="a sampling and 3 frames each; one way of choosing frames"):
        vtr.extract(video, store, backbone=weights, sampling=Closing(), frames=3)


def test_a_bug_in_decoding_one_video_costs_that_video(
    videos: Path,
    weights: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    real = pipeline.open_video

    def faulty(path: Path, *args: object, **options: object) -> object:
        if path.name == "clip2.mp4":
            raise ZeroDivisionError("division\nby zero")
        return real(path, *args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(pipeline, "open_video", faulty)
    result = run(videos, weights, tmp_path / "store")
    assert (result.num_extracted, result.num_failed) == (3, 2)
    failure = read_failures(tmp_path / "store", [])[str(videos / "clip2.mp4")]
    assert (failure.reason, failure.detail) == ("bug", "ZeroDivisionError: division by zero")
    assert f"a bug in decoding {videos / 'clip2.mp4'}; the run goes on" in caplog.text
    assert "Traceback" in caplog.text


def test_what_no_video_would_survive_ends_the_run(
    videos: Path, weights: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VTR_FFMPEG", "no-such-program")
    with pytest.raises(InputError, match="VTR_FFMPEG is 'no-such-program', which is no program"):
        run(videos, weights, tmp_path / "store")


def test_every_video_is_stored_and_a_bad_one_costs_a_row(videos: Path, weights: str, tmp_path: Path) -> None:
    result = run(videos, weights, tmp_path / "store")
    assert (result.num_found, result.num_extracted, result.num_failed, result.num_frames) == (5, 4, 1, 16)
    store = FeatureStore(tmp_path / "store")
    assert list(store.videos) == ["clip0", "clip1", "clip2", "clip3"]
    assert store.timestamps("clip0").tolist() == pytest.approx([0.1, 0.3, 0.6, 0.8], abs=0.11)
    assert [(Path(failure.path).name, failure.reason) for failure in result.failures] == [
        ("broken.mp4", "not-a-video")
    ]
    assert verify(tmp_path / "store").problems == ()


def test_a_second_run_decodes_nothing_and_still_says_what_failed(
    videos: Path, weights: str, tmp_path: Path
) -> None:
    run(videos, weights, tmp_path / "store")
    before = sorted((tmp_path / "store").rglob("*"))
    again = run(
        videos, weights, tmp_path / "store", on_plan=lambda plan: pytest.fail("something was decoded")
    )
    assert (again.num_extracted, again.num_skipped, again.num_failed, again.num_frames) == (0, 4, 1, 0)
    assert sorted((tmp_path / "store").rglob("*")) == before


def test_a_changed_file_is_done_again_and_a_touched_one_is_not(
    videos: Path, weights: str, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    run(videos, weights, store)
    first = features_of(store)
    make_video(videos / "clip1.mp4", seconds=1.0, hue=300)
    os.utime(videos / "clip2.mp4", ns=(1, 1))
    again = run(videos, weights, store)
    assert (again.num_extracted, again.num_skipped) == (1, 3)
    second = features_of(store)
    assert {name for name in first if first[name] != second[name]} == {"clip1"}


def test_retry_failed_tries_again_and_a_mended_file_is_done_without_it(
    videos: Path, weights: str, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    run(videos, weights, store)
    tried: list[int] = []
    run(videos, weights, store, retry_failed=True, on_plan=lambda plan: tried.append(len(plan.work.jobs)))
    assert tried == [1]
    make_video(videos / "broken.mp4", seconds=1.0, hue=10)
    assert run(videos, weights, store).num_failed == 0
    opened = FeatureStore(store)
    assert "broken" in opened.videos
    assert read_failures(store, [at.record for at in opened.videos.values()]) == {}


def test_the_same_content_twice_is_decoded_once(videos: Path, weights: str, tmp_path: Path) -> None:
    shutil.copy(videos / "clip0.mp4", videos / "copy of clip0.mp4")
    result = run(videos, weights, tmp_path / "store")
    assert (result.num_extracted, result.num_copied, result.num_frames) == (4, 1, 16)
    stored = features_of(tmp_path / "store")
    assert stored["copy of clip0"] == stored["clip0"]


def test_a_moved_folder_keeps_ids_and_features_without_decoding(
    videos: Path, weights: str, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    run(videos, weights, store)
    first = features_of(store)
    moved = videos.rename(tmp_path / "elsewhere")
    again = run(moved, weights, store)
    assert (again.num_extracted, again.num_moved, again.num_skipped, again.num_frames) == (0, 4, 4, 0)
    assert features_of(store) == first
    assert FeatureStore(store).videos["clip0"].record.path == str(moved / "clip0.mp4")


def test_a_file_moved_within_its_folder_keeps_its_id(videos: Path, weights: str, tmp_path: Path) -> None:
    store = tmp_path / "store"
    run(videos, weights, store)
    (videos / "sub").mkdir()
    (videos / "clip0.mp4").rename(videos / "sub" / "clip0.mp4")
    assert run(videos, weights, store).num_moved == 1
    opened = FeatureStore(store)
    assert list(opened.videos) == ["clip0", "clip1", "clip2", "clip3"]
    assert opened.videos["clip0"].record.path == str(videos / "sub" / "clip0.mp4")


def test_a_file_that_moves_again_and_again_keeps_its_id(videos: Path, weights: str, tmp_path: Path) -> None:
    store = tmp_path / "store"
    run(videos, weights, store)
    current = videos / "clip0.mp4"
    for folder in ("z", "m", "a"):
        (videos / folder).mkdir()
        current = current.rename(videos / folder / "clip0.mp4")
        assert run(videos, weights, store).warnings == []
        paths = {name: at.record.path for name, at in FeatureStore(store).videos.items()}
        assert list(paths) == ["clip0", "clip1", "clip2", "clip3"]
        assert paths["clip0"] == str(current)


def test_two_writers_that_choose_one_id_lose_neither_video(
    videos: Path, weights: str, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    make_video(other / "clip0.mp4", seconds=1.0, hue=200)

    def extract_meanwhile(plan: object) -> None:
        extract([other], store=tmp_path / "store", backbone=weights, sampling=SAMPLING, device="cpu")

    result = run(videos, weights, tmp_path / "store", on_plan=extract_meanwhile)
    paths = {name: at.record.path for name, at in FeatureStore(tmp_path / "store").videos.items()}
    assert paths["clip0"] == str(other / "clip0.mp4")
    assert paths["clip0.mp4"] == str(videos / "clip0.mp4")
    assert len(paths) == 5
    assert any("id 'clip0' belongs to" in note for note in result.warnings)
    again = run(videos, weights, tmp_path / "store")
    assert (again.num_skipped, again.num_extracted) == (4, 0)


@pytest.mark.slow
def test_parts_that_run_side_by_side_make_the_store_of_one_run(
    videos: Path, weights: str, tmp_path: Path
) -> None:
    run(videos, weights, tmp_path / "one")
    command = [sys.executable, "-m", "vtrcli", "extract", str(videos), "--store", str(tmp_path / "parts")]
    command += ["--backbone", weights, "--device", "cpu", "--frames", "4", "--quiet"]
    children = [subprocess.Popen([*command, "--part", f"{number}/3"]) for number in (1, 2, 3)]
    assert sorted(child.wait(timeout=120) for child in children) == [0, 0, 5]  # broken.mp4 is of one part
    assert features_of(tmp_path / "parts") == features_of(tmp_path / "one")
    assert verify(tmp_path / "parts").problems == ()
    again = run(videos, weights, tmp_path / "parts")
    assert (again.num_extracted, again.num_skipped, len(again.known_failures)) == (0, 4, 1)


def test_a_part_without_a_file_is_done_at_once(videos: Path, weights: str, tmp_path: Path) -> None:
    names = sorted(path.name for path in videos.iterdir())
    empty = next(
        part
        for part in (Part(number, 50) for number in range(1, 51))
        if not any(part.has(videos / name, videos) for name in names)
    )
    result = run(videos, weights, tmp_path / "store", part=empty)
    assert (result.num_found, result.num_extracted, result.failures) == (0, 0, [])


def test_a_file_that_changes_after_planning_poisons_neither_itself_nor_its_twin(
    videos: Path, weights: str, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    shutil.copy(videos / "clip0.mp4", videos / "zz.mp4")
    right = tmp_path / "right"
    run(videos, weights, right)

    def change(plan: object) -> None:
        make_video(videos / "clip0.mp4", seconds=1.0, hue=250)

    first = run(videos, weights, store, on_plan=change)
    assert "changed" in {failure.reason for failure in first.failures}
    run(videos, weights, store)
    run(videos, weights, store, retry_failed=True)
    assert features_of(store)["zz"] == features_of(right)["zz"]
    assert features_of(store)["clip0"] != features_of(right)["clip0"]


def test_two_roots_with_the_same_names_never_share_an_id(videos: Path, weights: str, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    make_video(other / "clip0.mp4", seconds=1.0, hue=200)
    result = extract(
        [videos, other], store=tmp_path / "store", backbone=weights, sampling=SAMPLING, device="cpu"
    )
    assert list(FeatureStore(tmp_path / "store").videos) == ["clip0", "clip0.mp4", "clip1", "clip2", "clip3"]
    assert result.warnings == [
        f"id 'clip0' belongs to {videos / 'clip0.mp4'}; {other / 'clip0.mp4'} is stored as 'clip0.mp4'"
    ]


@pytest.mark.parametrize("batch_size", [3, 16])
def test_features_do_not_depend_on_what_shared_their_batch(
    videos: Path, weights: str, tmp_path: Path, batch_size: int
) -> None:
    run(videos, weights, tmp_path / "together", batch_size=batch_size)
    for name in ("clip3", "clip1", "clip0", "clip2"):
        extract(
            [videos / f"{name}.mp4"],
            store=tmp_path / "apart",
            backbone=weights,
            sampling=SAMPLING,
            device="cpu",
            batch_size=batch_size,
            num_workers=1,
        )
    assert features_of(tmp_path / "together") == features_of(tmp_path / "apart")


def test_ctrl_c_keeps_what_is_done_and_the_next_run_does_the_rest(
    videos: Path, weights: str, tmp_path: Path
) -> None:
    store = tmp_path / "store"

    def interrupt_after_two(progress: object) -> None:
        if progress.num_done == 2:  # type: ignore[attr-defined]
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(videos, weights, store, num_workers=1, batch_size=4, on_progress=interrupt_after_two)
    kept = len(FeatureStore(store).videos)
    assert 1 <= kept < 4
    assert run(videos, weights, store).num_extracted == 4 - kept
    run(videos, weights, tmp_path / "undisturbed")
    assert features_of(store) == features_of(tmp_path / "undisturbed")


def test_kept_frames_are_whole_pictures_and_change_no_feature(
    videos: Path, weights: str, tmp_path: Path
) -> None:
    run(videos, weights, tmp_path / "without")
    for options, size in (({}, (64, 48)), ({"keep_size": 24}, (32, 24))):
        folder = tmp_path / f"store{size[0]}"
        run(videos, weights, folder, keep_frames=True, **options)
        assert features_of(folder) == features_of(tmp_path / "without")
        store = FeatureStore(folder)
        for at in store.videos.values():
            images = frames_of(folder, store.shards[at.shard], at)
            assert images is not None and len(images) == 4
            assert all(map(is_whole, images)) and {open_frame(image).size for image in images} == {size}


def test_a_size_of_nothing_is_refused(videos: Path, weights: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="keep_size is 0; at least 1; change keep_size"):
        run(videos, weights, tmp_path / "store", keep_frames=True, keep_size=0)
    assert not (tmp_path / "store").exists()


def test_frames_can_be_kept_later_and_a_copy_without_frames_takes_nobody_elses(
    videos: Path, weights: str, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    run(videos, weights, store)
    first = features_of(store)
    assert kept_frames(FeatureStore(store)).missing == {"clip0", "clip1", "clip2", "clip3"}
    again = run(videos, weights, store, keep_frames=True)
    assert (again.num_extracted, again.num_skipped) == (4, 0)
    assert features_of(store) == first
    opened = FeatureStore(store)
    assert kept_frames(opened).missing == set()
    assert run(videos, weights, store, keep_frames=True).num_skipped == 4
    for name in opened.videos:
        at = opened.videos[name]
        assert len(frames_of(store, opened.shards[at.shard], at) or ()) == 4


def test_another_backbone_is_refused_before_anything_is_decoded(
    videos: Path, weights: str, tmp_path: Path
) -> None:
    run(videos, weights, tmp_path / "store")
    other = str(write_tiny_clip(tmp_path / "other.safetensors", seed=1))
    with pytest.raises(StoreError, match="a store holds one backbone"):
        run(videos, other, tmp_path / "store")


def test_another_published_model_is_refused_before_it_is_downloaded(videos: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    tag = BackboneInfo(name="demo", sha256="0" * 64, dim=8, input_size=8, logit_scale=1.0)
    create_config(store, replace(make_config(), backbone=tag))
    with pytest.raises(StoreError) as caught:
        run(videos, "ViT-B/32", store, on_download=lambda done, total: pytest.fail("downloads"))
    assert str(caught.value) == (
        f"store {store} holds features of demo, not of ViT-B/32; a store holds one backbone; "
        f"use `--store {store}-other` for ViT-B/32, or `--backbone demo`"
    )


def test_what_exclude_left_out_is_said_where_nothing_is_left(
    videos: Path, weights: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=r"no video in .* \(\d+ other files?, \d+ met by --exclude\);"):
        run(videos, weights, tmp_path / "store", exclude=["*"])


def test_a_folder_without_videos_is_one_clear_line(weights: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "notes.txt").write_text("x")
    with pytest.raises(InputError) as caught:
        run(tmp_path / "empty", weights, tmp_path / "store")
    assert str(caught.value) == (
        f"no video in {tmp_path / 'empty'} (1 other file); files that ffmpeg reads, by name or content; "
        "hidden files are passed over; check the folder, or name the files themselves"
    )
    assert not (tmp_path / "store").exists()


# ---- what leaves nothing behind, what is passed over, what is counted


def test_a_first_run_that_stored_nothing_leaves_no_store(weights: str, tmp_path: Path) -> None:
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "broken.mp4").write_bytes(b"this is no video")
    result = run(tmp_path / "videos", weights, tmp_path / "a" / "store")
    assert (result.num_failed, result.failures[0].reason) == (1, "not-a-video")
    assert not (tmp_path / "a" / "store").exists()
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "mine.txt").write_text("x")
    run(tmp_path / "videos", weights, kept)
    assert [path.name for path in kept.iterdir()] == ["mine.txt"]


def test_a_first_run_that_is_stopped_leaves_no_store(
    videos: Path, weights: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(plan: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(videos, weights, tmp_path / "store", on_plan=stop)
    assert not (tmp_path / "store").exists()


def test_a_store_that_another_process_began_to_fill_is_not_taken_away(
    videos: Path, weights: str, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    bad = tmp_path / "bad"
    bad.mkdir()
    (bad / "broken.mp4").write_bytes(b"this is no video")
    # The other run ends, and takes its empty store away, after this one has begun.
    result = run(
        videos, weights, store, on_plan=lambda plan: (run(bad, weights, store), shutil.rmtree(store))
    )
    assert result.num_extracted == 4 and len(FeatureStore(store).videos) == 4
    assert run(bad, weights, store).num_failed == 1 and len(FeatureStore(store).videos) == 4


def test_a_store_keeps_standing_when_a_later_run_stores_nothing(
    videos: Path, weights: str, tmp_path: Path
) -> None:
    run(videos, weights, tmp_path / "store")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "broken.mp4").write_bytes(b"this is no video")
    assert run(tmp_path / "other", weights, tmp_path / "store").num_failed == 1
    assert len(FeatureStore(tmp_path / "store").videos) == 4


def test_excluded_files_are_not_extracted(videos: Path, weights: str, tmp_path: Path) -> None:
    result = run(videos, weights, tmp_path / "store", exclude=["clip[01].mp4", "broken*"])
    assert (result.num_found, result.num_extracted, result.num_ignored) == (2, 2, 3)


def test_what_is_announced_is_what_is_done_copied_or_failed(
    videos: Path, weights: str, tmp_path: Path
) -> None:
    shutil.copy(videos / "clip0.mp4", videos / "twin.mp4")
    (videos / "gone.mp4").symlink_to(videos / "nowhere.mp4")
    plans, moments = [], []
    result = run(videos, weights, tmp_path / "store", on_plan=plans.append, on_progress=moments.append)
    handled = result.num_extracted + result.num_copied + result.num_failed
    assert handled == plans[0].work.num_to_do == moments[-1].num_videos == moments[-1].num_done == 7
    assert moments[-1].num_failed == result.num_failed == 2


def test_the_demo_backbone_says_that_it_knows_no_other_videos(
    demo: Path, videos: Path, tmp_path: Path
) -> None:
    def warnings(folder: Path, store: str) -> list[str]:
        return extract(
            [folder], store=tmp_path / store, backbone="demo", sampling=SAMPLING, device="cpu"
        ).warnings

    assert warnings(videos, "foreign") == [
        "4 of these videos were not drawn by `vtr demo`, and its backbone knows nothing else: what a search finds in "
        "them means nothing; use --backbone ViT-B/32 with another --store"
    ]
    one = next((demo / "videos").glob("*.mp4"))
    (tmp_path / "drawn").mkdir()
    shutil.copy(one, tmp_path / "drawn")
    assert warnings(tmp_path / "drawn", "own") == []


def test_pixels_are_made_square_or_taken_as_they_are_stored(weights: str, tmp_path: Path) -> None:
    videos = tmp_path / "videos"
    videos.mkdir()
    # stored 64 x 64, shown 128 x 64: the white middle half fills the centre of the picture on display
    source = "color=black:size=64x64:rate=5:duration=1,drawbox=x=16:w=32:h=64:c=white:t=fill,setsar=2/1"
    encode_clip(videos / "wide.mp4", source)
    stores = {aspect: tmp_path / aspect for aspect in ("display", "pixels")}
    for aspect, store in stores.items():
        assert run(videos, weights, store, aspect=aspect).aspect == aspect
        assert FeatureStore(store).config.preprocessing["aspect"] == aspect
    one, other = (features_of(store)["wide"] for store in stores.values())
    assert one != other


def test_a_store_holds_one_aspect_and_an_older_one_is_display(
    videos: Path, weights: str, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    run(videos, weights, store)
    body = json.loads((store / "store.json").read_text())
    del body["preprocessing"]["aspect"]
    (store / "store.json").write_text(json.dumps(body))
    assert FeatureStore(store).config.aspect == "display"
    assert run(videos, weights, store).num_skipped == 4
    with pytest.raises(StoreError) as caught:
        run(videos, weights, store, aspect="pixels")
    assert str(caught.value) == (
        f"store {store} holds features of pixels made square, as players show them, not as they are stored; "
        f"a store holds one aspect; use `--aspect display`, or `--store {store}-other` for pixels"
    )


def precisions(store: Path) -> set[str | None]:
    return {at.record.precision for at in FeatureStore(store).videos.values()}


def test_the_precision_is_recorded_with_each_video_and_followed(
    videos: Path, weights: str, tmp_path: Path
) -> None:
    store, late = tmp_path / "store", tmp_path / "late"
    late.mkdir()
    (videos / "clip3.mp4").rename(late / "clip3.mp4")
    first = run(videos, weights, store, precision="float32")
    assert first.precision == "float32" and precisions(store) == {"float32"}
    assert not [warning for warning in first.warnings if "computed in" in warning]
    # bare, it goes on as it was begun, whatever the device would choose by itself
    assert run(late, weights, store).precision == "float32"
    shutil.copy(late / "clip3.mp4", late / "again.mp4")
    copied = run(late, weights, store)
    assert (copied.num_copied, copied.precision) == (1, None) and precisions(store) == {"float32"}


def test_another_precision_than_the_store_s_is_told_not_refused(
    videos: Path, weights: str, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    run(videos, weights, store, precision="float32")
    make_video(videos / "new.mp4", hue=33)
    result = run(videos, weights, store, precision="bfloat16")
    assert precisions(store) == {"float32", "bfloat16"}
    assert result.warnings == [
        "these videos were computed in bfloat16, others of the store in float32: their features differ by rounding "
        "(cosine 0.9999)"
    ]
    assert run(videos, weights, store).warnings == []


def test_features_that_overflow_in_half_precision_are_computed_in_float32_and_that_is_told(
    videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A device whose own precision is float16, and a tower whose values leave its range."""
    monkeypatch.setattr("vtrcli.model.backbone.fast_precisions", lambda _: ("float16", "float32"))
    path = str(write_overflowing_clip(tmp_path / "large.safetensors"))
    assert run(videos, path, tmp_path / "measured").precision == "float32"  # its first use tells
    monkeypatch.setattr("vtrcli.model.families.MIN_ROUNDED_COSINE", 0.0)  # as if it had not
    result = run(videos, path, tmp_path / "store")
    assert result.num_extracted == 4 and result.precision == "float32"
    overflow = "features overflow in float16: from the first that did the run computed in float32"
    assert overflow in result.warnings and precisions(tmp_path / "store") == {"float32"}
    with pytest.raises(
        NotFiniteError, match="NaN or infinite in float16; features are finite; use --precision"
    ):
        run(videos, path, tmp_path / "asked", precision="float16")
    assert not (tmp_path / "asked").exists()


def test_frames_that_are_cut_or_small_are_told_and_renewed_when_asked(
    videos: Path, weights: str, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    run(videos, weights, store, keep_frames=True, keep_size=32)
    keep_what_was_seen(store, {"clip0", "clip1"})
    first = features_of(store)
    kept = kept_frames(FeatureStore(store))
    assert kept.cut == {"clip0", "clip1"} and kept.short_sides == {32: 2} and not kept.missing
    again = run(videos, weights, store, keep_frames=True, keep_size=40)
    assert again.num_skipped == 4 and again.warnings == [
        "the kept frames of 4 stored videos are cut as one encoder saw them, or smaller than 40; they stay as they are:"
        " --renew-frames decodes those videos again"
    ]
    assert run(videos, weights, store).warnings == []  # who keeps no frames is told nothing of them
    smaller = run(videos, weights, store, renew_frames=True, keep_size=32)
    assert (smaller.num_extracted, smaller.num_skipped, smaller.warnings) == (2, 2, [])
    larger = run(videos, weights, store, renew_frames=True)  # never larger than the videos
    kept = kept_frames(FeatureStore(store))
    assert larger.num_extracted == 4 and kept.short_sides == {48: 4} and not kept.cut
    done = run(videos, weights, store, renew_frames=True)
    assert (done.num_extracted, done.warnings) == (0, []) and features_of(store) == first
