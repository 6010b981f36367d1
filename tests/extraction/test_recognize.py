"""Files that were renamed, moved, copied, swapped or replaced: no second decoding, no ghost, no shared id."""

from __future__ import annotations

import os
import shutil
import unicodedata
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.store.stores import SHA256, make_config, make_record, make_store
from tests.video_files import make_video
from vtrcli.extraction.discover import Candidate
from vtrcli.extraction.extract import ExtractResult, extract
from vtrcli.extraction.recognize import choose_video_id, settle_ids
from vtrcli.store.compact import compact
from vtrcli.store.config import create_config
from vtrcli.store.reader import FeatureStore
from vtrcli.store.records import VideoRecord, file_state
from vtrcli.store.roots import read_roots
from vtrcli.store.writer import StoreWriter
from vtrcli.video.sampling import Uniform

SAMPLING = Uniform(num_frames=2)
NAMES = ("a", "b", "c", "sub/a")  # sub/a.mp4 is a twin of a.mp4


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory, weights: str) -> Path:
    """videos/ with a.mp4, b.mp4, c.mp4 and sub/a.mp4, and a store of them."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "videos" / "sub").mkdir(parents=True)
    for number, name in enumerate("abc"):
        make_video(folder / "videos" / f"{name}.mp4", hue=90 * number)
    shutil.copy(folder / "videos" / "a.mp4", folder / "videos" / "sub" / "a.mp4")
    run(folder / "videos", weights)
    return folder


@pytest.fixture
def videos(done: Path, tmp_path: Path) -> Path:
    """A project that was renamed: times of change and inodes of the copy do not matter to the test."""
    shutil.copytree(done, tmp_path / "project", copy_function=shutil.copy2)
    return tmp_path / "project" / "videos"


def run(folder: Path, weights: str, *, store: Path | None = None, decodes: bool = True) -> ExtractResult:
    def refuse(plan: object) -> None:
        raise AssertionError("something was decoded")

    return extract(
        [folder],
        store=store or folder.parent / "store",
        backbone=weights,
        sampling=SAMPLING,
        device="cpu",
        **({} if decodes else {"on_plan": refuse}),  # type: ignore[arg-type]
    )


def paths_of(store: Path, below: Path) -> dict[str, str]:
    return {
        name: os.path.relpath(at.record.path, below)
        for name, at in sorted(FeatureStore(store).videos.items())
    }


def features_of(store: Path) -> dict[str, bytes]:
    opened = FeatureStore(store)
    return {name: opened.features(name).tobytes() for name in opened.videos}


def swap(first: Path, second: Path) -> None:
    other = first.with_suffix(".tmp")
    first.rename(other)
    second.rename(first)
    other.rename(second)


def test_a_copied_project_keeps_its_number_of_videos(done: Path, tmp_path: Path, weights: str) -> None:
    shutil.copytree(
        done, tmp_path / "elsewhere", copy_function=shutil.copy
    )  # cp -r: other times, other inodes
    folder = tmp_path / "elsewhere" / "videos"
    result = run(folder, weights, decodes=False)
    assert (result.num_skipped, result.num_moved, result.warnings) == (4, 4, [])
    assert paths_of(folder.parent / "store", folder) == {name: f"{name}.mp4" for name in NAMES}
    assert features_of(folder.parent / "store") == features_of(done / "store")
    again = run(folder, weights, decodes=False)
    assert (again.num_skipped, again.num_moved) == (4, 0)


def test_a_copy_within_one_store_is_no_second_entry(videos: Path, weights: str) -> None:
    shutil.copytree(videos, videos.parent / "backup")
    store = videos.parent / "store"
    run(videos, weights, decodes=False)
    assert run(videos.parent / "backup", weights, store=store, decodes=False).num_moved == 4
    assert len(FeatureStore(store).videos) == 4
    both = extract(
        [videos, videos.parent / "backup"], store=store, backbone=weights, sampling=SAMPLING, device="cpu"
    )
    assert len(FeatureStore(store).videos) == 4
    assert both.num_skipped == 8


def test_a_new_mount_point_writes_one_line_and_no_row(videos: Path, weights: str) -> None:
    store = videos.parent / "store"
    run(videos, weights, decodes=False)
    shards = sorted((store / "shards").iterdir())
    for name in ("first mount", "second mount"):
        videos = videos.rename(videos.parent / name)
        assert run(videos, weights, decodes=False).num_moved == 4
        assert paths_of(store, videos) == {name: f"{name}.mp4" for name in NAMES}
    assert sorted((store / "shards").iterdir()) == shards
    assert [root.folder for root in read_roots(store).by_name.values()] == [str(videos)]


def rename(videos: Path) -> None:
    (videos / "b.mp4").rename(videos / "z.mp4")


def swap_two(videos: Path) -> None:
    swap(videos / "a.mp4", videos / "b.mp4")


def swap_twins(videos: Path) -> None:
    swap(videos / "a.mp4", videos / "sub" / "a.mp4")


def chain(videos: Path) -> None:
    (videos / "c.mp4").rename(videos / "d.mp4")
    (videos / "b.mp4").rename(videos / "c.mp4")
    (videos / "a.mp4").rename(videos / "b.mp4")


def overwrite(videos: Path) -> None:
    (videos / "b.mp4").rename(videos / "c.mp4")


def touch_all(videos: Path) -> None:
    for path in videos.rglob("*.mp4"):
        os.utime(path, ns=(1, 1))


def copy_over(videos: Path) -> None:
    shutil.copy(videos / "b.mp4", videos / "c.mp4")


MOVES: list[tuple[Callable[[Path], None], dict[str, str]]] = [
    (rename, {"a": "a.mp4", "b": "z.mp4", "c": "c.mp4", "sub/a": "sub/a.mp4"}),
    (swap_two, {"a": "b.mp4", "b": "a.mp4", "c": "c.mp4", "sub/a": "sub/a.mp4"}),
    (swap_twins, {"a": "a.mp4", "b": "b.mp4", "c": "c.mp4", "sub/a": "sub/a.mp4"}),
    (chain, {"a": "b.mp4", "b": "c.mp4", "c": "d.mp4", "sub/a": "sub/a.mp4"}),
    (overwrite, {"a": "a.mp4", "b": "c.mp4", "sub/a": "sub/a.mp4"}),
    (touch_all, {"a": "a.mp4", "b": "b.mp4", "c": "c.mp4", "sub/a": "sub/a.mp4"}),
    (copy_over, {"a": "a.mp4", "b": "b.mp4", "c": "c.mp4", "sub/a": "sub/a.mp4"}),
]


@pytest.mark.parametrize(("change", "expected"), MOVES, ids=[change.__name__ for change, _ in MOVES])
@pytest.mark.parametrize("with_folder", [False, True])
def test_an_id_follows_its_file_and_no_ghost_stays(
    videos: Path, weights: str, change: Callable[[Path], None], expected: dict[str, str], with_folder: bool
) -> None:
    store = videos.parent / "store"
    run(videos, weights, decodes=False)
    before = features_of(store)
    change(videos)
    if with_folder:
        videos = videos.rename(videos.parent / "moved")
    run(videos, weights, decodes=False)
    assert paths_of(store, videos) == expected
    after = features_of(store)
    moved = {name for name in after if after[name] != before[name]}
    assert moved == ({"c"} if change is copy_over else set())
    again = run(videos, weights, decodes=False)
    assert (again.num_skipped, again.num_moved, again.num_copied) == (len(expected), 0, 0)
    assert paths_of(store, videos) == expected


def test_a_file_renamed_in_a_copy_of_its_folder_keeps_its_id(videos: Path, weights: str) -> None:
    swap_two(videos)
    rename(videos)
    run(videos, weights, decodes=False)
    assert paths_of(videos.parent / "store", videos) == {
        "a": "z.mp4",
        "b": "a.mp4",
        "c": "c.mp4",
        "sub/a": "sub/a.mp4",
    }


def test_what_was_overwritten_and_comes_back_is_not_decoded_again(videos: Path, weights: str) -> None:
    shutil.copy(videos / "c.mp4", videos.parent / "c.mp4")
    overwrite(videos)
    run(videos, weights, decodes=False)
    shutil.copy(videos.parent / "c.mp4", videos / "back.mp4")
    result = run(videos, weights, decodes=False)
    assert (result.num_copied, result.num_frames) == (1, 0)
    assert features_of(videos.parent / "store")["back"] is not None


def test_a_changed_middle_is_another_video(videos: Path, weights: str) -> None:
    """What a torrent client leaves that fetches the ends first: the final size, the final ends."""
    whole = make_video(videos / "d.mp4", seconds=8, size="320x240").read_bytes()
    assert len(whole) > 3 * 65536
    store = videos.parent / "store"
    hollow = whole[:65536] + bytes(len(whole) - 131072) + whole[-65536:]
    (videos / "d.mp4").write_bytes(hollow)
    (videos / "e.mp4").write_bytes(whole)
    assert file_state(videos / "d.mp4").fingerprint == file_state(videos / "e.mp4").fingerprint
    run(videos, weights)
    first = features_of(store)
    assert first.get("d") != first["e"]
    (videos / "e.mp4").unlink()
    (videos / "d.mp4").write_bytes(whole)
    run(videos, weights)
    opened = FeatureStore(store)
    (d,) = (name for name, at in opened.videos.items() if at.record.path == str(videos / "d.mp4"))
    assert opened.features(d).tobytes() == first["e"]


def test_a_file_that_kept_its_time_but_not_its_inode_is_read(videos: Path, weights: str) -> None:
    store = videos.parent / "store"
    run(videos, weights, decodes=False)
    status = (videos / "b.mp4").stat()
    other = make_video(videos.parent / "other.mp4", hue=200)
    size = max(status.st_size, other.stat().st_size)
    for path in (videos / "b.mp4", other):
        path.write_bytes(path.read_bytes().ljust(size, b"\0"))
    run(videos, weights)
    before = features_of(store)
    status = (videos / "b.mp4").stat()
    os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns))
    os.replace(other, videos / "b.mp4")
    assert run(videos, weights).num_extracted == 1
    assert features_of(store)["b"] != before["b"]


@pytest.mark.parametrize("recorded", ["NFC", "NFD"])
def test_both_unicode_forms_of_a_name_are_one_file(videos: Path, weights: str, recorded: str) -> None:
    other = {"NFC": "NFD", "NFD": "NFC"}[recorded]
    (videos / "b.mp4").rename(videos / unicodedata.normalize(recorded, "café.mp4"))
    run(videos, weights, decodes=False)
    (videos / unicodedata.normalize(recorded, "café.mp4")).rename(
        videos / unicodedata.normalize(other, "café.mp4")
    )
    assert run(videos, weights, decodes=False).num_skipped == 4
    assert FeatureStore(videos.parent / "store").videos["b"].record.path == str(
        videos / unicodedata.normalize(other, "café.mp4")
    )
    shutil.copytree(videos, videos.parent / "copy")
    copied = videos.parent / "copy"
    (copied / unicodedata.normalize(other, "café.mp4")).rename(
        copied / unicodedata.normalize(recorded, "café.mp4")
    )
    assert run(copied, weights, store=videos.parent / "store", decodes=False).num_moved == 4


def test_a_path_may_be_given_in_the_other_form(videos: Path, weights: str) -> None:
    run(videos, weights, decodes=False)
    folder = videos / unicodedata.normalize("NFC", "\u00e9t\u00e9")
    folder.mkdir()
    (videos / "b.mp4").rename(folder / unicodedata.normalize("NFD", "caf\u00e9.mp4"))
    given = (
        videos / unicodedata.normalize("NFD", "\u00e9t\u00e9") / unicodedata.normalize("NFC", "caf\u00e9.mp4")
    )
    result = run(given, weights, store=videos.parent / "store", decodes=False)
    assert (result.num_found, result.num_moved) == (1, 1)
    assert run(videos, weights, decodes=False).num_skipped == 4


def test_a_root_whose_line_was_lost_gives_its_name_to_no_other_folder(videos: Path, weights: str) -> None:
    store = videos.parent / "store"
    run(videos, weights, decodes=False)
    paths = FeatureStore(store).paths
    (store / "roots.jsonl").unlink()
    other = videos.parent / "other" / "videos"
    other.mkdir(parents=True)
    make_video(other / "new.mp4", hue=250)
    run(other, weights, store=store)
    assert {name: path for name, path in FeatureStore(store).paths.items() if name in paths} == paths


def write_old_store(store: Path, folder: Path, names: tuple[str, ...]) -> None:
    """A store as the first releases wrote it: no roots, no content."""
    create_config(store, make_config())
    writer = StoreWriter(store, backbone_sha256=SHA256)
    for number, name in enumerate(names):
        path = folder / f"{name}.mp4"
        state = file_state(path)
        record = VideoRecord(
            video_id=name,
            path=str(path),
            num_bytes=state.num_bytes,
            mtime_ns=state.mtime_ns,
            fingerprint=state.fingerprint,
            duration_seconds=1.0,
            width=64,
            height=48,
            codec="h264",
            extracted_at=1.0,
        )
        writer.add(record, np.full((1, 4), number + 1.0), np.zeros(1))
    writer.flush()


@pytest.mark.parametrize("is_moved", [True, False])
def test_a_store_of_the_first_releases_is_recognised(videos: Path, tmp_path: Path, is_moved: bool) -> None:
    from vtrcli.extraction.discover import discover
    from vtrcli.extraction.worklist import make_worklist

    store = tmp_path / "old store"
    write_old_store(store, videos, NAMES)
    new = videos.parent / "new"
    if is_moved:
        videos.rename(new)
    else:
        shutil.copytree(videos, new, copy_function=shutil.copy)
    work = make_worklist(discover([new]), FeatureStore(store), {}, retry_failed=False)
    assert (work.jobs, work.copies, work.num_moved) == ([], [], 4)
    assert [(root.folder, root.name) for root in work.moved_roots] == [(str(new), "videos")]
    assert [root.folder for root in work.new_roots] == [str(videos)]
    assert sorted(job.video_id for job in work.refreshed) == ([] if is_moved else sorted(NAMES))


def test_an_old_record_whose_file_has_another_time_is_decoded_again(videos: Path, tmp_path: Path) -> None:
    from vtrcli.extraction.discover import discover
    from vtrcli.extraction.worklist import make_worklist

    write_old_store(tmp_path / "old store", videos, NAMES)
    os.utime(videos / "b.mp4", ns=(1, 1))
    work = make_worklist(discover([videos]), FeatureStore(tmp_path / "old store"), {}, retry_failed=False)
    assert [job.video_id for job in work.jobs] == ["b"]


def test_a_folder_reached_by_a_link_holds_the_same_files(videos: Path, weights: str) -> None:
    run(videos, weights, decodes=False)
    before = paths_of(videos.parent / "store", videos)
    link = videos.parent / "link"
    link.symlink_to(videos)
    for folder in (link, videos / "sub", link, videos):
        result = run(folder, weights, store=videos.parent / "store", decodes=False)
        assert (result.num_copied, result.num_skipped) == (0, 1 if folder.name == "sub" else 4)
        assert list(paths_of(videos.parent / "store", videos)) == list(before)
    assert paths_of(videos.parent / "store", videos) == before


def test_known_failures_move_with_their_folder(videos: Path, weights: str) -> None:
    (videos / "sub" / "bad.mp4").write_bytes(b"no video")
    assert len(run(videos, weights).new_failures) == 1
    elsewhere = videos.rename(videos.with_name("elsewhere"))
    store = elsewhere.parent / "store"
    for _ in range(2):
        result = run(elsewhere, weights, store=store, decodes=False)
        assert [failure.path for failure in result.known_failures] == [str(elsewhere / "sub" / "bad.mp4")]
        assert not result.new_failures
    (elsewhere / "sub" / "bad.mp4").write_bytes(b"still none")
    assert len(run(elsewhere, weights, store=store).new_failures) == 1


@pytest.mark.parametrize(
    ("path", "root", "expected"),
    [
        ("/v/a.mp4", "/v", "a"),
        ("/v/kitchen/pasta.mp4", "/v", "kitchen/pasta"),
        ("/v/v1.2-final", "/v", "v1.2-final"),
        ("/v/-4wsuPCjDBc_5_15.avi", "/v", "-4wsuPCjDBc_5_15"),
        ("/v/UPPER.MP4", "/v", "UPPER"),
    ],
)
def test_the_id_is_the_path_below_the_root_without_a_video_suffix(
    path: str, root: str, expected: str
) -> None:
    assert choose_video_id(Candidate(Path(path), Path(root)), {}) == (expected, None)


def test_a_second_suffix_keeps_its_suffix_and_says_so() -> None:
    chosen = choose_video_id(Candidate(Path("/v/a.mkv"), Path("/v")), {"a": "/v/a.mp4"})
    assert chosen == ("a.mkv", "id 'a' belongs to /v/a.mp4; /v/a.mkv is stored as 'a.mkv'")


def test_the_same_name_below_another_root_gets_the_folder_before_it() -> None:
    taken = {"intro": "/home/Videos/intro.mp4", "intro.mp4": "/x/intro.mp4"}
    assert (
        choose_video_id(Candidate(Path("/home/Films/intro.mp4"), Path("/home/Films")), taken)[0]
        == "Films/intro.mp4"
    )


def test_a_file_that_owns_its_id_keeps_it() -> None:
    assert choose_video_id(Candidate(Path("/v/a.mp4"), Path("/v")), {"a": "/v/a.mp4"}) == ("a", None)


@given(
    st.lists(
        st.tuples(st.sampled_from("ab"), st.sampled_from(["x", "y"]), st.sampled_from(["mp4", "mkv"])),
        max_size=12,
    )
)
def test_no_two_files_ever_share_an_id(files: list[tuple[str, str, str]]) -> None:
    taken: dict[str, str] = {}
    paths = sorted({Path(f"/{root}/{name}.{suffix}") for root, name, suffix in files})
    for path in paths:
        video_id, _ = choose_video_id(Candidate(path, path.parent), taken)
        assert video_id not in taken
        taken[video_id] = str(path)
    assert len(taken) == len(paths)


def write(store: Path, video_id: str, path: str) -> StoreWriter:
    writer = StoreWriter(store, backbone_sha256=SHA256)
    writer.add(make_record(video_id, path=path), np.ones((1, 4)), np.zeros(1))
    writer.flush()
    return writer


def paths(store: Path) -> dict[str, str]:
    return {video_id: at.record.path for video_id, at in FeatureStore(store).videos.items()}


def test_the_path_that_sorts_first_keeps_a_contested_id(tmp_path: Path) -> None:
    store = make_store(tmp_path, {})
    planned = FeatureStore(store)
    writer = write(store, "clip", "/two/clip.mp4")
    write(store, "clip", "/one/clip.mp4")
    settle_ids(store, {"clip": "/two/clip.mp4"}, planned, writer)
    assert paths(store)["clip"] == "/one/clip.mp4" and "/two/clip.mp4" in paths(store).values()


def test_a_row_that_was_known_is_no_rival_after_compacting(tmp_path: Path) -> None:
    """A renamed file keeps its id; `compact` puts its old row into a shard that was not there before."""
    store = make_store(tmp_path, {})
    write(store, "clip", "/videos/a.mp4")
    write(store, "other", "/videos/b.mp4")
    planned = FeatureStore(store)
    compact(store)
    writer = write(store, "clip", "/videos/z.mp4")
    assert settle_ids(store, {"clip": "/videos/z.mp4"}, planned, writer) == []
    assert paths(store) == {"clip": "/videos/z.mp4", "other": "/videos/b.mp4"}
