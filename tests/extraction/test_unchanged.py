"""What a stat alone recognises is what the worklist would have recognised: the same work is left, whoever looked."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.store.stores import SHA256, make_config, make_record
from vtrcli.extraction.discover import discover
from vtrcli.extraction.unchanged import unchanged_files
from vtrcli.extraction.worklist import Worklist, make_worklist, settled_worklist
from vtrcli.store.catalog_file import open_catalog
from vtrcli.store.config import create_config
from vtrcli.store.failures import Failure, append_failure, make_failure, read_failures
from vtrcli.store.reader import FeatureStore
from vtrcli.store.records import file_state
from vtrcli.store.writer import StoreWriter


@dataclass(frozen=True)
class Drawn:
    """A file of the folder, and what the store and the list of failures say of it."""

    name: str
    content: bytes
    stored: str  # no, as it is, or how the record differs
    video_id: str
    failed: str  # no, as it is, earlier


FILES = st.builds(
    Drawn,
    name=st.sampled_from(
        ["a.mp4", "b.mp4", "c.mp4", "é.mp4", "e\u0301.mp4", "sub/a.mp4", "note.txt", "\udc80.mp4"]
    ),
    content=st.sampled_from([b"one", b"two", b"\x00" * 9]),
    stored=st.sampled_from(
        ["no", *["same"] * 6, "other size", "touched", "other inode", "copied", "old", "elsewhere"]
    ),
    video_id=st.sampled_from(["a", "b", "c", "sub/a", "x"]),
    failed=st.sampled_from(["no", "no", "no", "same", "earlier"]),
)


def write(folder: Path, store: Path, files: list[Drawn]) -> None:
    create_config(store, make_config())
    writer = StoreWriter(store, backbone_sha256=SHA256)
    for drawn in files:
        path = folder / drawn.name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(drawn.content)
        state = file_state(path)
        if drawn.stored != "no":
            record = make_record(
                drawn.video_id,
                path=str(path if drawn.stored != "elsewhere" else folder / "gone.mp4"),
                num_bytes=state.num_bytes + (drawn.stored == "other size"),
                mtime_ns=state.mtime_ns - (drawn.stored == "touched"),
                fingerprint=state.fingerprint,
                inode=None if drawn.stored == "old" else state.inode,
                ctime_ns=None if drawn.stored == "old" else state.ctime_ns,
                extracted_at=1.0,
            )
            if drawn.stored in ("other inode", "copied"):
                other = {"ctime_ns": 5} if drawn.stored == "copied" else {}
                record = replace(record, inode=(state.inode or 0) + 1, **other)
            writer.add(record, np.eye(2, 4), np.arange(2))
            writer.flush()
        if drawn.failed != "no":
            state = replace(state, mtime_ns=state.mtime_ns - (drawn.failed == "earlier"))
            append_failure(store, make_failure(path, "corrupt", "", state=state))


@given(
    files=st.lists(FILES, max_size=6, unique_by=lambda drawn: drawn.name),
    retry_failed=st.booleans(),
    num_catalogued=st.integers(0, 6),
)
@settings(max_examples=20)
def test_the_work_that_is_left_is_the_same(
    files: list[Drawn], retry_failed: bool, num_catalogued: int
) -> None:
    """Also where the catalogue does not know the newest shards yet."""
    with tempfile.TemporaryDirectory() as name:
        folder, store = Path(name).resolve() / "videos", Path(name) / "store"
        folder.mkdir()
        write(folder, store, files[:num_catalogued])
        open_catalog(store)
        write(folder, store, files[num_catalogued:])
        wanted = make_worklist(
            discover([folder]),
            FeatureStore(store),
            standing(store),
            retry_failed=retry_failed,
        )
        known = unchanged_files(store)
        assert known is not None
        found = discover([folder], are_known=known)
        assert len(found.candidates) + found.num_known == len(discover([folder]).candidates)
        had = settled_worklist(
            found, known, read_failures(store, (), keep_gone=True), retry_failed=retry_failed
        )
        full = make_worklist(
            found, FeatureStore(store), standing(store), retry_failed=retry_failed, known=known
        )
    assert_same(full, wanted)
    if had is not None:
        assert_same(had, wanted)


def test_where_all_is_as_it_was_no_candidate_is_left(tmp_path: Path) -> None:
    folder, store = tmp_path / "videos", tmp_path / "store"
    folder.mkdir()
    names = [f"{number}.mp4" for number in range(3)]
    files = [Drawn(name, b"one", "same" if name != "2.mp4" else "no", name, "no") for name in names]
    files[2] = replace(files[2], failed="same")
    write(folder, store, files)
    assert unchanged_files(store) is None  # nobody searched: there is no catalogue
    open_catalog(store)
    known = unchanged_files(store)
    assert known is not None
    found = discover([folder], are_known=known)
    assert (found.num_known, found.num_videos) == (2, 3)
    assert [candidate.path.name for candidate in found.candidates] == ["2.mp4"]
    work = settled_worklist(found, known, read_failures(store, (), keep_gone=True), retry_failed=False)
    assert work is not None and work.num_unchanged == 2
    assert [failure.path for failure in work.known_failures] == [str(folder / "2.mp4")]
    (folder / "3.mp4").write_bytes(b"new")
    found = discover([folder], are_known=unchanged_files(store))
    assert settled_worklist(found, known, {}, retry_failed=False) is None


def test_a_named_file_is_always_a_candidate(tmp_path: Path) -> None:
    """Playlists are judged by the files beside them."""
    (tmp_path / "a.mp4").write_bytes(b"one")

    def refuse(paths: list[str], statuses: list[os.stat_result]) -> list[bool]:
        raise AssertionError("asked")

    assert len(discover([tmp_path / "a.mp4", tmp_path], are_known=refuse).candidates) == 1


def standing(store: Path) -> dict[str, Failure]:
    records = (at.record for at in FeatureStore(store).videos.values())
    return read_failures(store, records, keep_gone=True)


def assert_same(one: Worklist, other: Worklist) -> None:
    assert without_time(one) == without_time(other)


def without_time(work: Worklist) -> Worklist:
    return replace(work, new_failures=[replace(failure, when=0.0) for failure in work.new_failures])
