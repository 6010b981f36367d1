"""Results are files that are there, each content once; the others make room, and nobody looks further than needed."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.store.stores import SHA256, make_config, make_record
from vtrcli.searching import presence as presence_module
from vtrcli.searching.finder import best_present
from vtrcli.searching.presence import Presence
from vtrcli.searching.query import Query, QueryVectors, SearchSettings
from vtrcli.searching.scores import VideoScores
from vtrcli.searching.searcher import NO_RESULT, Searcher
from vtrcli.store.catalog_file import open_catalog
from vtrcli.store.config import create_config
from vtrcli.store.records import VideoRecord, file_content, file_state
from vtrcli.store.writer import StoreWriter


def record_of(path: Path, video_id: str, **changes: object) -> VideoRecord:
    """As `vtr extract` writes it."""
    state = file_state(path)
    record = make_record(
        video_id,
        path=str(path),
        num_bytes=state.num_bytes,
        mtime_ns=state.mtime_ns,
        fingerprint=state.fingerprint,
        inode=state.inode,
        ctime_ns=state.ctime_ns,
        content=file_content(path),
    )
    return replace(record, **changes)  # type: ignore[arg-type]


def fill(store: Path, records: list[VideoRecord]) -> Path:
    create_config(store, make_config())
    writer = StoreWriter(store, backbone_sha256=SHA256)
    for record in records:
        writer.add(record, np.ones((1, 4)), np.array([0.5]))
    writer.flush()
    return store


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """a, b, c of their own contents, and a copy of a."""
    paths = [tmp_path / "videos" / f"{name}.mp4" for name in ("a", "b", "c", "copy")]
    paths[0].parent.mkdir()
    for path in paths[:3]:
        path.write_bytes(path.name.encode() * 10)
    shutil.copy(paths[0], paths[3])
    return paths


def store_of(files: list[Path], **changes: object) -> Path:
    return fill(files[0].parent.parent / "store", [record_of(path, path.stem, **changes) for path in files])


def found(
    store: Path, scores: list[float], *, top_k: int = 10, show_missing: bool = False
) -> tuple[list[str], Presence]:
    catalog = open_catalog(store)
    presence = Presence(catalog, show_missing=show_missing)
    values = np.array(scores, np.float32)
    videos, exact = best_present(
        VideoScores(values, 0.0, lambda places: values[list(places)]),
        presence,
        top_k=top_k,
        allowed=np.ones(len(values), bool),
    )
    assert exact.tolist() == values[videos].tolist()
    return [catalog.ids[video] for video in videos], presence


def test_each_content_is_shown_once_and_its_files_are_named(files: list[Path]) -> None:
    store = store_of(files)
    names, presence = found(store, [0.9, 0.8, 0.7, 0.9])
    assert names == ["a", "b", "c"]
    everything = np.ones(4, bool)
    assert (
        presence.named_twins(0, everything) == (str(files[3]),) and presence.named_twins(1, everything) == ()
    )
    assert presence.named_twins(0, np.array([True, True, True, False])) == ()  # a filter takes it out


def test_the_twin_that_is_there_stands_for_one_that_is_gone(files: list[Path]) -> None:
    store = store_of(files)
    files[0].unlink()
    for show_missing in (False, True):
        names, presence = found(store, [0.9, 0.8, 0.7, 0.9], show_missing=show_missing)
        assert names == ["copy", "b", "c"]
        named = presence.named_twins(3, np.ones(4, bool))
        assert named == ((str(files[0]),) if show_missing else ())


def test_rows_of_the_first_releases_are_the_same_by_size_and_ends(files: list[Path]) -> None:
    assert found(store_of(files, content=None, inode=None, ctime_ns=None), [0.9, 0.8, 0.7, 0.9])[0] == [
        "a",
        "b",
        "c",
    ]


def test_equal_ends_of_another_content_are_another_video(files: list[Path]) -> None:
    records = [record_of(path, path.stem) for path in files]
    records[3] = replace(records[3], content="0" * 64)
    assert found(fill(files[0].parent.parent / "store", records), [0.9, 0.8, 0.7, 0.9])[0] == [
        "a",
        "copy",
        "b",
        "c",
    ]


def test_who_is_gone_makes_room_and_the_better_ones_are_counted(files: list[Path]) -> None:
    store = store_of(files[:3])
    files[0].unlink()
    files[2].unlink()
    names, presence = found(store, [0.9, 0.8, 0.7], top_k=2)
    assert names == ["b"] and presence.num_better == 1
    assert found(store, [0.9, 0.8, 0.7], top_k=2, show_missing=True)[0] == ["a", "b"]


def state_of(store: Path, video_id: str) -> str:
    catalog = open_catalog(store)
    return Presence(catalog, show_missing=False).state(catalog.number_of[video_id])


def test_a_file_is_what_it_was_when_it_was_only_touched_or_copied_back(files: list[Path]) -> None:
    store = store_of(files)
    os.utime(files[0])
    body = files[1].read_bytes()
    files[1].unlink()
    files[1].write_bytes(body)
    assert [state_of(store, name) for name in ("a", "b", "c")] == ["there"] * 3


@pytest.mark.parametrize("keeps_time", [False, True])
@pytest.mark.parametrize(
    "body", [b"another length", b"z.mp4" * 10, b"X" * 70_000], ids=["size", "ends", "long"]
)
def test_a_file_with_another_content_was_replaced(files: list[Path], body: bytes, keeps_time: bool) -> None:
    store, times = store_of(files), os.stat(files[1])
    files[1].unlink()
    files[1].write_bytes(body)
    if keeps_time:
        os.utime(files[1], ns=(times.st_atime_ns, times.st_mtime_ns))
    assert state_of(store, "b") == "replaced"


def test_a_file_that_changed_between_its_ends_was_replaced(files: list[Path]) -> None:
    body = bytearray(os.urandom(200_000))
    files[0].write_bytes(body)
    store = store_of(files)
    body[100_000] ^= 1
    files[0].write_bytes(body)
    assert state_of(store, "a") == "replaced"


def test_a_store_without_any_file_says_what_helps_and_asks_little(tmp_path: Path) -> None:
    store = fill(
        tmp_path / "store", [make_record(f"v{n}", path=f"/nowhere/{n % 3}/v{n}.mp4") for n in range(500)]
    )
    searcher = Searcher(store, device="cpu")
    catalog = searcher.catalog
    looked: list[object] = []
    with pytest.MonkeyPatch.context() as patch:
        true_stat = os.stat
        patch.setattr(
            presence_module.os, "stat", lambda path, **more: looked.append(path) or true_stat(path, **more)
        )
        names, presence = found(store, np.linspace(1, 0, 500).tolist())
    assert names == [] and len(presence.missing) == catalog.num_videos
    assert len([path for path in looked if str(path).endswith(".mp4")]) == 3  # one a folder
    half = np.ones(4, np.float32) / 2
    searcher.encode = lambda query: QueryVectors(half, half)  # type: ignore[method-assign]
    for moments in (False, True):
        result = searcher.search(Query(text="x"), SearchSettings(moments=moments))
        assert result.hits == () and result.num_videos == 500
        assert result.notes == (
            f"{NO_RESULT}all 500 videos are missing: if they moved, `vtr store relocate OLD NEW` or `vtr extract NEW` "
            "finds them again; `vtr store prune --missing` forgets them; --missing shows them",
        )
        shown = searcher.search(Query(text="x"), SearchSettings(moments=moments, missing=True))
        assert len(shown.hits) == 10 and all(hit.is_missing for hit in shown.hits) and shown.notes == ()


def test_looking_has_an_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "videos").mkdir()
    records = [make_record(f"v{n}", path=str(tmp_path / "videos" / f"v{n}.mp4")) for n in range(300)]
    (tmp_path / "videos" / "v299.mp4").write_bytes(b"x")
    store = fill(tmp_path / "store", records)
    scores = np.linspace(1, 0, 300).tolist()
    assert found(store, scores)[0] == ["v299"]
    monkeypatch.setattr(presence_module, "MAX_LOOKS", 100)
    names, presence = found(store, scores)
    assert names == [] and presence.is_exhausted and 100 <= len(presence.missing) <= 110


@settings(max_examples=60, deadline=None)
@given(
    scores=st.lists(st.integers(0, 5), min_size=1, max_size=40),
    states=st.data(),
    top_k=st.integers(1, 12),
    error=st.sampled_from([0.0, 0.3, 2.0]),
)
def test_the_best_that_can_be_shown_are_found_whatever_is_gone_or_doubled(
    scores: list[int], states: st.DataObject, top_k: int, error: float
) -> None:
    number = len(scores)
    gone = states.draw(st.lists(st.booleans(), min_size=number, max_size=number))
    group = states.draw(st.lists(st.integers(0, 8), min_size=number, max_size=number))
    exact = np.array([scores[group.index(one)] for one in group], np.float32)  # twins score alike

    class Known(Presence):
        def __init__(self) -> None:
            self.show_missing, self.is_exhausted, self.num_better = False, False, 0
            self._states = {}
            self._catalog = self  # type: ignore[assignment]

        def twins(self, video: int) -> list[int]:
            return [other for other in range(number) if group[other] == group[video]]

        def _look(self, video: int) -> presence_module.State:
            return "missing" if gone[video] else "there"

    rng = np.random.default_rng(number)
    rough = exact + rng.uniform(-error, error, number).astype(np.float32)
    allowed = np.array(states.draw(st.lists(st.booleans(), min_size=number, max_size=number)))
    videos, values = best_present(
        VideoScores(rough, error + 1e-6, lambda places: exact[list(places)]),
        Known(),
        top_k=top_k,
        allowed=allowed,
    )
    there = [video for video in range(number) if allowed[video] and not gone[video]]
    wanted = sorted({group[video]: exact[video] for video in there}.values(), reverse=True)[:top_k]
    assert values.tolist() == wanted and len({group[video] for video in videos}) == len(videos)
    assert all(video in there for video in videos)
