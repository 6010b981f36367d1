"""Videos of a data set are found in a store by name; what is missing or ambiguous is said, never guessed."""

from __future__ import annotations

import time
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.datasets.layouts import message
from vtrcli.datasets.match_store import (
    _StoreNames,
    _without_extension,
    ids_in_store,
    join_with_store,
    require_complete,
)
from vtrcli.datasets.split import Caption, Split
from vtrcli.errors import InputError
from vtrcli.store.roots import normal


def _split(*video_ids: str, captions_each: int = 1) -> Split:
    captions = tuple(
        Caption(f"text {number}", video_id, f"{video_id}#{number}")
        for video_id in video_ids
        for number in range(captions_each)
    )
    return Split("test", video_ids, captions, {video_id: f"kind of {video_id}" for video_id in video_ids})


@pytest.mark.parametrize(
    ("video_id", "store_id"),
    [
        ("video7010", "video7010"),
        ("video7010", "TrainValVideo/video7010"),
        ("a/b/clip", "b/clip"),
        ("b/clip", "a/b/clip"),
        ("clip.mp4", "clip"),
        ("clip", "x/clip.webm"),
        ("clip.avi", "clip.MP4"),
        ("3@N01_6_dc.mov", "videos/3@N01_6_dc"),
        ("3@N01_6_dc.divx", "videos/3@N01_6_dc"),
        ("3@N01_6_dc.", "3@N01_6_dc"),
        ("3@N01_6_dc.", "3@N01_6_dc."),
        ("3@N01_6_dc.", "3@N01_6_dc.mp4"),
        ("v_uqiMw7tQ1Cc", "uqiMw7tQ1Cc"),
        ("uqiMw7tQ1Cc", "val/v_uqiMw7tQ1Cc"),
        ("-4wsuPCjDBc_5_15", "YouTubeClips/-4wsuPCjDBc_5_15"),
        ("9001_F_00.02.55.644-00.02.56.718", "9001_F/9001_F_00.02.55.644-00.02.56.718"),
    ],
)
def test_names_that_are_the_same_video(video_id: str, store_id: str) -> None:
    joined = join_with_store(_split(video_id), [store_id, "other/video"])
    assert joined.video_ids == (store_id,)
    assert joined.captions == (Caption("text 0", store_id, f"{video_id}#0"),)
    assert joined.categories == {store_id: f"kind of {video_id}"}
    assert joined.missing_videos == ()


@pytest.mark.parametrize(
    ("video_id", "store_id"),
    [
        ("a/clip", "b/clip"),
        ("clip.one", "clip.two"),
        ("mr.bean", "mr"),
        ("9001_F_00.02.55.644-00.02.56.718", "9001_F_00.02.55.644-00.02.56.900"),
        ("video1", "video10"),
        ("clip", "myclip"),
        ("Clip", "clip"),
    ],
)
def test_names_that_are_not(video_id: str, store_id: str) -> None:
    assert join_with_store(_split(video_id), [store_id]).missing_videos == (video_id,)


def test_the_exact_id_wins_over_the_same_name_elsewhere() -> None:
    assert join_with_store(_split("clip"), ["old/clip", "clip", "clip.avi"]).video_ids == ("clip",)


def test_two_files_of_one_stem_are_told_apart_by_extension() -> None:
    joined = join_with_store(_split("clip.avi", "clip.mp4"), ["clip", "clip.avi"])
    assert joined.video_ids == ("clip.avi", "clip")


def test_a_name_that_fits_two_stored_videos_is_refused() -> None:
    with pytest.raises(InputError) as caught:
        join_with_store(_split("clip"), ["a/clip", "b/clip"])
    assert message(caught) == (
        "the video 'clip' fits the stored videos 'a/clip' and 'b/clip'; one stored video per video of the data set; "
        "extract into a store of its own, or write store ids into the annotations"
    )


def test_two_names_that_fit_one_stored_video_are_refused() -> None:
    with pytest.raises(InputError) as caught:
        join_with_store(_split("clip.avi", "clip.mp4"), ["clip"])
    assert message(caught) == (
        "the videos 'clip.avi' and 'clip.mp4' of the data set both fit the stored 'clip'; "
        "one stored video per video of the data set; extract the missing one, or write store ids into the annotations"
    )


def test_missing_videos_and_their_captions_are_counted() -> None:
    joined = join_with_store(_split("a", "b", "c", captions_each=3), ["x/c", "a", "unused"])
    assert joined.video_ids == ("a", "x/c")
    assert joined.missing_videos == ("b",)
    assert joined.num_missing_captions == 3
    assert {caption.video_id for caption in joined.captions} == {"a", "x/c"}


def test_missing_videos_stop_unless_they_are_allowed() -> None:
    joined = join_with_store(_split(*(f"v{number}" for number in range(8)), captions_each=2), ["v7"])
    with pytest.raises(InputError) as caught:
        require_complete(joined, allow_missing=False)
    assert message(caught) == (
        "7 of 8 videos (14 captions) are not in the store: v0, v1, v2, v3, v4 …; "
        "a number is comparable only when every video of the split takes part; extract them with `vtr extract` "
        "(`vtr store failures` says which failed), or pass --allow-missing"
    )
    require_complete(joined, allow_missing=True)


@pytest.mark.parametrize("allow_missing", [False, True])
def test_a_store_of_other_videos_is_never_enough(allow_missing: bool) -> None:
    with pytest.raises(InputError) as caught:
        require_complete(join_with_store(_split("v0", "v1"), ["w"]), allow_missing=allow_missing)
    assert message(caught) == (
        "2 of 2 videos (2 captions) are not in the store: v0, v1; store ids are file names below the extracted "
        "folder, with or without folders and extension; check --store and --dataset, or extract the videos with "
        "`vtr extract`"
    )


def test_a_complete_store_passes() -> None:
    require_complete(join_with_store(_split("v0"), ["v0"]), allow_missing=False)


@settings(deadline=None)
@given(st.lists(st.text("ab./v_", min_size=1, max_size=6), min_size=1, unique=True))
def test_a_store_of_the_same_ids_is_joined_as_it_is(video_ids: list[str]) -> None:
    joined = join_with_store(_split(*video_ids), reversed(video_ids))
    assert joined.video_ids == tuple(video_ids)
    assert joined.captions == _split(*video_ids).captions


@pytest.mark.slow
def test_joining_takes_linear_time_even_when_all_files_have_one_name() -> None:
    num_videos = 20_000
    split = _split(*(f"clips/{number}/video.mp4" for number in range(num_videos)))
    start = time.process_time()
    joined = join_with_store(split, [f"all/clips/{number}/video" for number in range(num_videos)])
    assert len(joined.video_ids) == num_videos
    assert time.process_time() - start < 5  # 0.2 s here; a quadratic join takes minutes


PATHS = {"a": "/home/me/v/b.mp4", "b": "/home/me/v/a.mp4", "sub/c": "/home/me/v/renamed/d.webm"}


@pytest.mark.parametrize(
    ("name", "store_id"),
    [
        ("a", "a"),
        ("a.mp4", "b"),
        ("/home/me/v/a.mp4", "b"),
        ("v/b.mp4", "a"),
        ("d.webm", "sub/c"),
        ("renamed/d.webm", "sub/c"),
        ("renamed/d", "sub/c"),
        ("d", "sub/c"),
        ("c", "sub/c"),
        ("c.mp4", "sub/c"),
    ],
)
def test_a_video_is_found_by_its_id_and_by_where_it_is_now(name: str, store_id: str) -> None:
    assert join_with_store(_split(name), PATHS, paths=PATHS).video_ids == (store_id,)


def test_paths_below_home_and_below_the_working_folder_are_found(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    paths = {"x": str(tmp_path / "v" / "new.mp4"), "y": "/elsewhere/v/new.mp4"}
    for name in ("~/v/new.mp4", "../v/new.mp4"):
        assert join_with_store(_split(name), paths, paths=paths).video_ids == ("x",)


def test_a_name_of_two_places_is_ambiguous_unless_it_is_an_id() -> None:
    paths = {"a": "/x/new.mp4", "b": "/y/new.mp4"}
    with pytest.raises(InputError, match="fits the stored videos 'a' and 'b'"):
        join_with_store(_split("new.mp4"), paths, paths=paths)
    assert join_with_store(_split("new.mp4"), [*paths, "new"], paths=paths).video_ids == ("new",)


@pytest.mark.parametrize(("given", "stored"), [("NFC", "NFD"), ("NFD", "NFC")])
def test_both_unicode_forms_of_a_name_are_one(given: str, stored: str) -> None:
    stored_id = unicodedata.normalize(stored, "fran\u00e7ais/caf\u00e9")
    name = unicodedata.normalize(given, "caf\u00e9")
    assert join_with_store(_split(name), [stored_id]).video_ids == (stored_id,)
    paths = {"id": f"/v/{stored_id}.mp4"}
    assert join_with_store(_split(f"{name}.mp4"), ["id"], paths=paths).video_ids == ("id",)


def test_names_are_looked_up_together_and_several_may_be_of_one_video() -> None:
    paths = {"x/a": "/v/a.mp4", "x/b": "/v/moved.mp4", "y/c": "", "z/c": ""}
    found = ids_in_store(["a.mp4", "a", "moved.mp4", "nowhere", "a"], paths, paths)
    assert found == {"a.mp4": "x/a", "a": "x/a", "moved.mp4": "x/b"}
    with pytest.raises(InputError, match="'c' fits the stored videos 'y/c' and 'z/c'"):
        ids_in_store(["a", "c"], paths, paths)


NAMES = st.lists(
    st.sampled_from(["a", "b", "v_a", "a.mp4", "a.one", "é", "é", ""]), min_size=1, max_size=3
).map("/".join)


@given(
    st.dictionaries(NAMES, st.one_of(st.just(""), NAMES.map("/x/{}".format)), max_size=6),
    st.one_of(NAMES, NAMES.map("/x/{}".format)),
)
@settings(max_examples=60, deadline=None)
def test_what_is_indexed_for_one_name_finds_what_an_index_of_everything_finds(
    paths: dict[str, str], name: str
) -> None:
    reference = _StoreNames(paths, paths, ())
    for store_id, path in paths.items():
        named = normal(store_id), normal(path)
        reference._exact.add(named[0], store_id, Everything())
        reference._bare.add(_without_extension(named[0]), store_id, Everything())
        if path:
            reference._paths.add(named[1], store_id, Everything())
            reference._bare_paths.add(_without_extension(named[1]), store_id, Everything())
    assert answer(_StoreNames(paths, paths, [name]), name) == answer(reference, name)


class Everything(set[str]):
    def __contains__(self, key: object) -> bool:
        return True


def answer(names: _StoreNames, name: str) -> str | None:
    try:
        return names.find(name)
    except InputError as error:
        return error.came_in
