"""Search ranks by the scores it shows, gives a moment inside the video, and says what is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.model.tiny_clip import write_tiny_clip
from tests.store.stores import make_store
from tests.video_files import make_video
from vtrcli.errors import InputError, StoreError
from vtrcli.extraction.extract import extract
from vtrcli.searching.encoding import QUERY_WAS_CUT
from vtrcli.searching.options import SearchOptions
from vtrcli.searching.run import search
from vtrcli.video.sampling import Sampling


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("search")
    weights = write_tiny_clip(folder / "tiny.safetensors")
    (folder / "videos").mkdir()
    for number in range(3):
        make_video(folder / "videos" / f"clip{number}.mp4", seconds=2.0, hue=120 * number)
    extract(
        [folder / "videos"],
        store=folder / "store",
        backbone=str(weights),
        sampling=Sampling(num_frames=4),
        device="cpu",
    )
    return folder / "store"


def test_hits_are_ranked_by_their_scores_and_the_moment_lies_in_the_video(store: Path) -> None:
    result = search("a man cooking", store=store, device="cpu")
    assert (result.num_videos, [hit.rank for hit in result.hits]) == (3, [1, 2, 3])
    scores = [hit.score for hit in result.hits]
    assert scores == sorted(scores, reverse=True)
    for hit in result.hits:
        moment = hit.moment
        assert 0 <= moment.start_seconds <= moment.peak_seconds <= moment.end_seconds <= 2.1
        assert moment.score == pytest.approx(hit.score, abs=1e-6)
        assert not hit.is_missing


def test_a_video_that_is_gone_makes_room_and_is_shown_on_request(store: Path) -> None:
    path = store.parent / "videos" / "clip1.mp4"
    body = path.read_bytes()
    path.unlink()
    try:
        result = search("a man cooking", store=store, device="cpu")
        assert {hit.video_id for hit in result.hits} == {"clip0", "clip2"}
        result = search("a man cooking", store=store, options=SearchOptions(missing=True), device="cpu")
        assert {hit.video_id: hit.is_missing for hit in result.hits} == {
            "clip0": False,
            "clip1": True,
            "clip2": False,
        }
    finally:
        path.write_bytes(body)


def test_fewer_hits_than_asked_for_and_long_queries_are_fine(store: Path) -> None:
    assert len(search("x", store=store, top_k=100, device="cpu").hits) == 3
    assert len(search("x", store=store, top_k=2, device="cpu").hits) == 2
    assert len(search("x", store=store, top_k=2, options=SearchOptions(moments=True), device="cpu").hits) == 2
    assert len(search("x", store=store, options=SearchOptions(top_k=1), device="cpu").hits) == 1
    assert search("word " * 500, store=store, device="cpu").notes == (QUERY_WAS_CUT,)
    assert len(search("一个人在做饭 🍳", store=store, device="cpu").hits) == 3


@pytest.mark.parametrize("query", ["", "  \n", "x" * 10_001])
def test_an_empty_or_oversized_query_is_one_clear_line(store: Path, query: str) -> None:
    with pytest.raises(InputError) as caught:
        search(query, store=store, device="cpu")
    assert str(caught.value) == (
        f"a query of {len(query.strip()):,} characters; 1 to 10,000 characters (CLIP reads the first 77 tokens); "
        'describe the scene in a sentence, such as "a man cooking"'
    )


def test_features_that_are_not_finite_are_an_error_not_a_missing_answer(store: Path, tmp_path: Path) -> None:
    import shutil

    copied = Path(shutil.copytree(store, tmp_path / "store"))
    (shard,) = (copied / "shards").iterdir()
    body = bytearray(shard.read_bytes())
    body[-2:] = b"\x00\x7e"  # a float16 NaN in the last feature
    shard.write_bytes(body)
    with pytest.raises(StoreError, match="holds features that are not finite; "):
        search("x", store=copied, top_k=1, device="cpu")


def test_an_empty_store_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="holds no video yet; a store with at least one video; "):
        search("x", store=make_store(tmp_path, {}), device="cpu")


def test_weights_that_are_not_those_of_the_store_are_refused(store: Path, tmp_path: Path) -> None:
    import json
    import shutil

    other = write_tiny_clip(tmp_path / "other.safetensors", seed=1)
    copied = Path(shutil.copytree(store, tmp_path / "store"))
    config = json.loads((copied / "store.json").read_text())
    config["backbone"]["name"] = str(other)
    (copied / "store.json").write_text(json.dumps(config))
    with pytest.raises(StoreError, match="was made with other weights than"):
        search("never asked before", store=copied, device="cpu")


def test_the_demo_backbone_says_that_it_knows_no_other_videos(
    store: Path, demo: Path, tmp_path: Path
) -> None:
    extract(
        [store.parent / "videos"],
        store=tmp_path / "foreign",
        backbone="demo",
        sampling=Sampling(num_frames=2),
        device="cpu",
    )
    notes = search("a red circle", store=tmp_path / "foreign", device="cpu").notes
    assert notes == (
        "the demo's backbone knows only what `vtr demo` draws: these results mean nothing; extract with "
        "--backbone ViT-B/32 into another --store",
    )
    assert search("a red circle", store=demo / "store", device="cpu").notes == ()
