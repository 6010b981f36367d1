"""A bank corrects one live query as `vtr eval` does with that bank; its relevance is one scale for all queries."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.store.stores import make_config
from tests.store.test_catalog import add
from vtrcli.errors import InputError, StoreError, UsageError
from vtrcli.ranking.methods import Settings, correction
from vtrcli.ranking.scores import DenseScores, tiles
from vtrcli.searching.bank import BankScores, open_bank, statistics
from vtrcli.searching.query import Query, QueryVectors, SearchSettings, require_method
from vtrcli.searching.searcher import Searcher
from vtrcli.store.catalog_file import open_catalog
from vtrcli.store.config import create_config, read_config
from vtrcli.store.texts import TextRows, write_text_file
from vtrcli.text.cache import build_bank
from vtrcli.text.streams import STREAMS

CAPTIONS = [f"a {colour} {shape}" for colour in "red green blue yellow pink".split() for shape in
            "circle square arrow cross star triangle".split()]  # fmt: skip


@pytest.fixture
def store(own_demo: Path) -> Path:
    build_bank(own_demo / "store", CAPTIONS, device="cpu")
    return own_demo / "store"


def scores_of_bank(searcher: Searcher, texts: list[str]) -> np.ndarray:
    """[num_texts, num_videos], by asking them one by one."""
    rows = []
    for text in texts:
        found = searcher.search(Query(text=text), SearchSettings(top_k=1000)).hits
        score = {hit.video_id: hit.score for hit in found}
        rows.append([score[video_id] for video_id in searcher.catalog.ids.all()])
    return np.array(rows)


@pytest.mark.parametrize("with_run", [False, True])
@pytest.mark.parametrize("method", ["dsl", "inverted-softmax", "nnn", "csls"])
def test_the_correction_is_that_of_eval_with_the_bank(store: Path, method: str, with_run: bool) -> None:
    run = store.parent / "runs" / "demo" if with_run else None
    searcher = Searcher(store, run=run, device="cpu")
    bank = scores_of_bank(searcher, CAPTIONS)
    query = scores_of_bank(searcher, ["two shapes meet"])
    settings = Settings(method=method)  # type: ignore[arg-type]  # what eval does unless told otherwise
    space = searcher.finder._space
    source = DenseScores(query)
    found = correction(source, settings, logit_scale=space.logit_scale, edge=64, bank=DenseScores(bank))
    (tile,) = tiles(source, edge=64)
    corrected = found.apply(tile)[0]
    expected = [searcher.catalog.ids[int(video)] for video in np.argsort(-corrected, kind="stable")]
    result = searcher.search(
        Query(text="two shapes meet"),
        SearchSettings(top_k=24, method=method),  # type: ignore[arg-type]
    )
    assert [hit.video_id for hit in result.hits][:10] == expected[:10]
    assert result.notes[0].startswith(f"{method}: corrected by the bank's 30 captions, for this query alone")


def test_relevance_is_the_score_on_the_scale_of_the_bank(store: Path) -> None:
    searcher = Searcher(store, device="cpu")
    bank = scores_of_bank(searcher, CAPTIONS)
    hits = searcher.search(Query(text="two shapes meet"), SearchSettings(top_k=24)).hits
    for hit in hits:
        assert hit.relevance == pytest.approx((hit.score - bank.mean()) / bank.std(), abs=2e-3)
    least = sorted(hit.relevance or 0.0 for hit in hits)[-4] - 1e-6  # a moment's may differ in its last digit
    for moments in (False, True):
        options = SearchSettings(top_k=24, min_relevance=least, moments=moments, per_video=1)
        assert len(searcher.search(Query(text="two shapes meet"), options).hits) == 4
    none = searcher.search(Query(text="two shapes meet"), SearchSettings(min_relevance=99.0))
    assert none.hits == () and none.notes == ("no result: nothing reaches relevance 99",)


@pytest.mark.parametrize("method", ["nnn", "csls", "dsl"])
def test_moments_with_a_correction_leave_out_nothing_that_is_relevant(store: Path, method: str) -> None:
    searcher = Searcher(store, device="cpu")
    for text in ("two shapes meet", "a red circle", "a star"):
        plain = searcher.search(Query(text=text), SearchSettings(top_k=24)).hits
        least = sorted(hit.relevance or 0.0 for hit in plain)[-6] - 1e-6
        common = {"min_relevance": least, "method": method, "top_k": 6}
        videos = searcher.search(Query(text=text), SearchSettings(**common)).hits  # type: ignore[arg-type]
        moments = searcher.search(
            Query(text=text),
            SearchSettings(moments=True, per_video=1, **common),  # type: ignore[arg-type]
        ).hits
        assert len(videos) == 6 and {hit.video_id for hit in videos} == {hit.video_id for hit in moments}


def test_a_large_bank_is_worked_off_in_parts(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Searcher(store, device="cpu").finder.bank_scores
    shutil.rmtree(store / "index")
    monkeypatch.setattr("vtrcli.searching.bank.MAX_SCORES", 61)
    monkeypatch.setattr("vtrcli.searching.frames.MAX_PRODUCTS", 100)
    parts = Searcher(store, device="cpu").finder.bank_scores
    assert whole is not None and parts is not None
    for name, values in whole.statistics.items():
        np.testing.assert_allclose(parts.statistics[name], values, rtol=1e-4, atol=1e-5)


def test_new_videos_get_their_bank_scores(store: Path) -> None:
    assert Searcher(store, device="cpu").finder.bank_scores is not None
    dim = open_catalog(store).config.backbone.dim
    add(store, new=np.random.default_rng(0).standard_normal((3, dim)))
    bank_scores = Searcher(store, device="cpu").finder.bank_scores
    assert bank_scores is not None and len(bank_scores.statistics["mean"]) == 25


def test_the_statistics_are_those_of_plain_sums() -> None:
    scores = np.random.default_rng(0).normal(0.2, 0.1, (5, 40)).astype(np.float32)
    found = statistics(scores, logit_scale=100.0)
    ordered = -np.sort(-scores, axis=1)
    np.testing.assert_allclose(found["mean"], scores.mean(axis=1), rtol=1e-5)
    np.testing.assert_allclose(
        found["log_sum_exp"], np.log(np.exp(100.0 * scores.astype(float)).sum(axis=1)), rtol=1e-5
    )
    np.testing.assert_allclose(found["nnn"], ordered[:, :8].mean(axis=1), rtol=1e-5)
    np.testing.assert_allclose(found["csls"], ordered[:, :10].mean(axis=1), rtol=1e-5)
    bank_scores = BankScores(100.0, 40, found)
    assert bank_scores.mean == pytest.approx(float(scores.mean()), rel=1e-4)
    assert bank_scores.deviation == pytest.approx(float(scores.std()), rel=1e-3)


def test_a_bank_of_captions_judges_no_pictures(store: Path) -> None:
    searcher = Searcher(store, device="cpu")
    like = Query(like=(searcher.catalog.ids[0],))
    assert all(hit.relevance is None for hit in searcher.search(like).hits)
    with pytest.raises(UsageError, match="^a correction or a relevance for a picture or a video; "):
        searcher.search(like, SearchSettings(min_relevance=1.0))


def test_too_many_captions_are_sampled_and_too_few_refused(own_demo: Path) -> None:
    result = build_bank(own_demo / "store", [*CAPTIONS, *CAPTIONS, " "], max_texts=26, device="cpu")
    assert (result.num_found, result.num_texts) == (30, 26)
    with pytest.raises(InputError) as caught:
        build_bank(own_demo / "store", ["a dog"] * 100, device="cpu")
    assert str(caught.value) == (
        "1 different captions for a bank; at least 25; fewer do not tell what an unrelated query scores; "
        "use the training captions of a data set, or a longer file with one caption per line"
    )


def test_without_a_bank_the_command_that_makes_one_is_told(own_demo: Path) -> None:
    searcher = Searcher(own_demo / "store", device="cpu")
    assert searcher.search(Query(text="a dog")).hits[0].relevance is None
    for options in (SearchSettings(method="dsl"), SearchSettings(min_relevance=1.0)):
        with pytest.raises(StoreError) as caught:
            searcher.search(Query(text="a dog"), options)
        assert str(caught.value) == (
            f"store {own_demo / 'store'} has no query bank; "
            "a bank of captions, for --dsl, --method and --min-relevance; "
            f"make one with `vtr bank build --texts FILE --store {own_demo / 'store'}`, or from a data set's captions"
        )


def test_a_bank_of_another_backbone_is_refused_and_plain_search_goes_on(store: Path) -> None:
    backbone = read_config(store).backbone
    with pytest.raises(StoreError, match="is a bank of another backbone "):
        open_bank(store, replace(backbone, sha256="0" * 64))
    with pytest.raises(StoreError, match="is damaged: the tensors' shapes do not agree; .*`vtr bank build`"):
        open_bank(store, replace(backbone, dim=7))
    assert open_bank(store, backbone).num_texts == 30
    body = bytearray((store / "bank.safetensors").read_bytes())
    body[10] ^= 0xFF
    (store / "bank.safetensors").write_bytes(body)
    assert Searcher(store, device="cpu").search(Query(text="a dog")).hits[0].relevance is None
    with pytest.raises(StoreError, match="bank.safetensors is damaged: "):
        Searcher(store, device="cpu").search(Query(text="a dog"), SearchSettings(method="dsl"))


def test_building_a_bank_again_removes_the_old_bank_scores(store: Path) -> None:
    assert Searcher(store, device="cpu").finder.bank_scores is not None
    (old,) = (store / "index").glob("bank-*")
    build_bank(store, CAPTIONS[:25], device="cpu")
    assert not old.exists()


def test_methods_that_need_all_queries_are_refused() -> None:
    with pytest.raises(UsageError) as caught:
        require_method("sinkhorn")
    assert str(caught.value) == (
        "--method sinkhorn in a search; one query alone can be corrected by dsl, inverted-softmax, nnn, csls; "
        "choose one of them; the others need all queries at once (`vtr eval`)"
    )


def store_of_cosines(
    path: Path, *, offset: float, logit_scale: float, logit_bias: float | None
) -> np.ndarray:
    """A store of 40 videos whose cosine with text i is `offset` and, for video i, 0.1 more, with noise of 0.02, and its
    bank of such texts; the texts themselves, [40, dim]."""
    rng, num, sha256 = np.random.default_rng(0), 40, "ab" * 32
    aims = np.linalg.qr(rng.standard_normal((2 * num, 2 * num)))[0][:num]
    shown = 0.25 * aims + 0.05 * rng.standard_normal(aims.shape)
    texts = np.concatenate([np.full((num, 1), 0.6), 0.4 * aims, np.zeros((num, 1))], axis=1)
    frames = np.concatenate([np.full((num, 1), offset / 0.6), shown, np.zeros((num, 1))], axis=1)
    for rows in (texts, frames):  # of length 1, and nothing else changes
        rows[:, -1] = np.sqrt(1 - np.square(rows).sum(axis=1)) * (rows is texts)
    frames = np.concatenate([frames, np.sqrt(1 - np.square(frames).sum(axis=1, keepdims=True))], axis=1)
    texts = np.concatenate([texts, np.zeros((num, 1))], axis=1)
    config = make_config(dim=texts.shape[1])
    backbone = replace(config.backbone, logit_scale=logit_scale, logit_bias=logit_bias)
    create_config(path, replace(config, backbone=backbone))
    add(path, **{f"v{number:02d}": row[None] for number, row in enumerate(frames)})
    rows = TextRows(np.repeat(texts[:, None].astype(np.float16), 3, axis=1), np.ones((num, 3), bool))
    names = [f"text {number}" for number in range(num)]
    write_text_file(
        path / "bank.safetensors", names, rows, streams=STREAMS, tagger_id="-", backbone_sha256=sha256
    )
    return texts.astype(np.float32)


def test_relevance_separates_on_a_sigmoid_model_as_on_clip(tmp_path: Path) -> None:
    """The same pairs, with cosines as CLIP's and as SigLIP's: benchmarks/scales.py has the figures."""
    found = []
    for name, offset, scale, bias in (("clip", 0.2, 100.0, None), ("siglip", -0.02, 110.0, -12.0)):
        texts = store_of_cosines(tmp_path / name, offset=offset, logit_scale=scale, logit_bias=bias)
        searcher = Searcher(tmp_path / name, device="cpu")
        answers = [
            searcher.search(
                Query(text="any"),
                SearchSettings(top_k=40, min_relevance=2.0, missing=True),
                vectors=QueryVectors(text, text),
            ).hits
            for text in texts
        ]
        found.append([{hit.video_id: hit.relevance or 0.0 for hit in hits} for hits in answers])
        best = answers[0][0]
        if bias is None:
            assert best.probability is None
        else:
            wanted = 1 / (1 + np.exp(-(scale * best.score + bias)))
            assert best.probability == pytest.approx(wanted) and 0 < wanted < 1
            assert best.to_json()["probability"] == float(f"{wanted:.3g}")
    of_clip, of_siglip = found
    assert sum(f"v{number:02d}" in hits for number, hits in enumerate(of_clip)) >= 36
    assert sum(map(len, of_clip)) - 40 < 0.05 * 40 * 39
    for clip, siglip in zip(of_clip, of_siglip, strict=True):
        for video, value in {**clip, **siglip}.items():  # but for what lies at the threshold itself
            assert clip.get(video, value) == pytest.approx(siglip.get(video, value), abs=0.05)
            assert (video in clip) == (video in siglip) or value < 2.05
