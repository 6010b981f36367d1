"""The seam for heads: one more row of HEADS is trained, resumed, loaded, evaluated and searched like the first."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import vtrcli as vtr
from tests.model.max_sim import MaxSim, MaxSimConfig
from tests.training.toy import make_toy
from tests.training.toy_frames import make_toy_frames
from vtrcli.errors import UsageError, WeightsError
from vtrcli.model.camoe_config import CamoeConfig
from vtrcli.model.families import open_text_tower
from vtrcli.model.heads import HEADS, HeadKind, build_head, head_kind
from vtrcli.model.runs import TrainedRun, load_head, newest_fitting_run, read_config, score_blocks
from vtrcli.searching.bank import open_bank
from vtrcli.searching.query import NUM_RERANKED, Query, QueryVectors, SearchSettings
from vtrcli.searching.searcher import Searcher
from vtrcli.store.reader import FeatureStore
from vtrcli.text.cache import build_bank
from vtrcli.text.encode import encode_streams
from vtrcli.text.streams import load_tagger
from vtrcli.training.record import read_metrics

SETTINGS: dict[str, Any] = {
    "epochs": 8, "batch_size": 8, "learning_rate": 2e-2, "frames": 4, "captions": "all", "patience": None
}  # fmt: skip


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_toy(tmp_path_factory.mktemp("toy"))


@pytest.fixture
def max_sim(monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of the second head, which is one of the known ones as long as a test runs."""
    monkeypatch.setitem(HEADS, MaxSimConfig.name, HeadKind(MaxSimConfig, MaxSim))
    return MaxSimConfig.name


def train(toy: Path, out: Path, **changes: Any) -> Any:
    where = {"dataset": "csv", "annotations": toy, "out": out, "device": "cpu"}
    return vtr.train(toy / "store", **{**where, **SETTINGS, **changes})


def spoil(run: Path, **changes: Any) -> None:
    body = json.loads((run / "config.json").read_text())
    body["settings"] |= changes
    (run / "config.json").write_text(json.dumps(body))


def test_every_head_says_what_the_seam_asks(max_sim: str) -> None:
    texts, mask = torch.randn(5, 3, 8), torch.ones(5, 3, dtype=torch.bool)
    frames, frame_mask = torch.randn(4, 6, 8), torch.arange(6) < torch.tensor([[1], [3], [6], [2]])
    for config in (CamoeConfig(dim=8, width=8), MaxSimConfig(dim=8, num_streams=3)):
        head = build_head(config, logit_scale=1000.0)
        assert HEADS[config.name].config.from_json(json.loads(json.dumps(config.to_json()))) == config
        assert float(head.logit_scale.detach()) == pytest.approx(config.scale_bound(1000.0))
        assert head.log_scale.requires_grad and "log_scale" in head.state_dict()
        queries, videos = head.text_vectors(texts, mask), head.video_vectors(frames, frame_mask)
        assert queries.shape == (5, *config.text_shape)
        scores = head.scores(queries, videos)
        if config.is_inner_product:
            torch.testing.assert_close(scores, queries @ videos.T)
            assert float(videos.detach().norm(dim=1).max()) <= config.max_length + 1e-6
        alone = head.scores(queries[2:3], videos[1:2])
        torch.testing.assert_close(alone, scores[2:3, 1:2])
        # What stands outside the mask counts for nothing.
        spoiled = torch.where(frame_mask.unsqueeze(-1), frames, torch.full_like(frames, 7.0))
        torch.testing.assert_close(head.video_vectors(spoiled, frame_mask), videos)


def test_max_sim_is_no_inner_product(max_sim: str) -> None:
    """A video of two unlike frames scores 1 with both texts, which no vector of length 1 does."""
    head = MaxSim(MaxSimConfig(dim=4, num_streams=1), 10.0)
    frames = torch.eye(4)[:2].unsqueeze(0) * torch.tensor([[[1.0], [-1.0]]])
    both = torch.cat([frames, frames[:, :1].repeat(1, 2, 1)])
    texts = torch.stack([torch.eye(4)[0], -torch.eye(4)[1]]).unsqueeze(1)
    mask = torch.ones(2, 1, dtype=torch.bool)
    scores = head.scores(head.text_vectors(texts, mask), head.video_vectors(both, torch.ones(2, 2) > 0))
    assert scores.tolist() == [[1, 1], [1, 0]]


def test_scores_of_blocks_are_those_of_all_at_once_and_equal_videos_tie(max_sim: str) -> None:
    rng = np.random.default_rng(0)
    head = MaxSim(MaxSimConfig(dim=8, num_streams=2), 10.0)
    texts, videos = (rng.normal(size=shape).astype("f4") for shape in ((70, 2, 8), (150, 3, 8)))
    videos[149] = videos[3]
    scores = score_blocks(head, texts, videos, device="cpu")
    whole = head.scores(torch.from_numpy(texts), torch.from_numpy(videos)).detach().numpy()
    np.testing.assert_allclose(scores, whole, atol=1e-5)
    np.testing.assert_array_equal(scores[:, 149], scores[:, 3])


def test_a_second_head_is_trained_resumed_loaded_and_evaluated(
    max_sim: str, toy: Path, tmp_path: Path
) -> None:
    result = train(toy, tmp_path / "run", head=max_sim)
    body = json.loads((tmp_path / "run" / "config.json").read_text())
    assert body["settings"]["head"] == max_sim and body[max_sim] == {"dim": 16, "num_streams": 3}
    assert "camoe" not in body
    first = read_metrics(tmp_path / "run")[0]["val"]
    assert result.val["t2v"]["R@1"] > first["t2v"]["R@1"] + 10
    head, config = vtr.load_run(tmp_path / "run")
    assert isinstance(head, MaxSim) and config.head == MaxSimConfig(dim=16, num_streams=3)
    assert not torch.equal(head.project.weight, torch.eye(16))

    steps = iter(range(100))
    stopped = train(toy, tmp_path / "parts", head=max_sim, should_stop=lambda: next(steps) == 21)
    assert stopped.was_interrupted
    vtr.train(
        toy / "store", dataset="csv", annotations=toy, out=tmp_path / "parts", device="cpu", resume=True
    )
    for name in ("model.safetensors", "last.safetensors"):
        whole, parts = (load_file(tmp_path / folder / name) for folder in ("run", "parts"))
        assert all(torch.equal(whole[key], parts[key]) for key in whole), name

    where = {"dataset": "csv", "annotations": toy, "split": "val", "device": "cpu"}
    evaluated = vtr.evaluate(store=toy / "store", run=tmp_path / "run", dsl=True, **where)
    for direction, metrics in result.val.items():
        row = next(
            row for row in evaluated.table() if row["direction"] == direction and row["method"] == "none"
        )
        assert {name: row[name] for name in metrics if "R@" in name} == {
            name: value for name, value in metrics.items() if "R@" in name
        }
    trained = vtr.evaluate(store=toy / "store", run=tmp_path / "run", bank="train", dsl=True, **where)
    assert len(trained.evaluations) == 3


@pytest.mark.slow
def test_search_ranks_the_first_hits_of_clip_by_the_heads_own_scores(
    max_sim: str, toy: Path, tmp_path: Path
) -> None:
    train(toy, tmp_path / "run", head=max_sim)
    store, run = FeatureStore(toy / "store"), TrainedRun(tmp_path / "run", device="cpu")
    rng = np.random.default_rng(0)
    texts = rng.normal(size=(6, 3, 16)).astype("f4")
    texts /= np.linalg.norm(texts, axis=-1, keepdims=True)
    for number_of_first in (5, NUM_RERANKED, 1000):
        searcher = Searcher(toy / "store", run=tmp_path / "run", device="cpu")
        plain = Searcher(toy / "store", device="cpu")
        for text in texts:
            vectors = QueryVectors(clip=text[0], ranking=text.ravel())
            first = plain.search(
                "x",
                SearchSettings(top_k=number_of_first, missing=True),
                vectors=QueryVectors(text[0], text[0]),
            ).hits
            candidates = [hit.video_id for hit in first]
            assert len(candidates) == min(number_of_first, 60)
            dense = run.scores(text[None], run.videos(store, candidates))[0]
            wanted = [candidates[place] for place in np.argsort(-dense, kind="stable")]
            options = SearchSettings(top_k=5, missing=True, num_reranked=number_of_first)
            hits = searcher.search("x", options, vectors=vectors).hits
            assert [hit.video_id for hit in hits] == wanted[:5]
            np.testing.assert_allclose([hit.score for hit in hits], np.sort(dense)[::-1][:5], atol=1e-6)
    assert not list((toy / "store").glob("index/run-*"))  # nothing is kept of a video


def test_what_needs_one_vector_per_video_is_refused(max_sim: str, toy: Path, tmp_path: Path) -> None:
    train(toy, tmp_path / "run", head=max_sim, epochs=1)
    searcher = Searcher(toy / "store", run=tmp_path / "run", device="cpu")
    with pytest.raises(
        UsageError, match="in an index; runs that make one vector of a video; .*'max-sim'.*; use plain"
    ):
        searcher.run_vectors()
    with pytest.raises(
        UsageError, match="a picture or a video as a query.*'max-sim' ranks by texts alone; leave out"
    ):
        searcher.encode(Query(like=("v000",)))


def test_a_run_names_its_head_and_one_without_is_camoe(toy: Path, tmp_path: Path) -> None:
    train(toy, tmp_path / "run", epochs=1)
    body = json.loads((tmp_path / "run" / "config.json").read_text())
    assert body["settings"]["head"] == "camoe" and body["camoe"]["dim"] == 16
    assert {
        name.split(".")[1] for name in load_file(tmp_path / "run" / "last.safetensors") if "model." in name
    } == {"camoe"}
    del body["settings"]["head"]
    (tmp_path / "run" / "config.json").write_text(json.dumps(body))
    head, config = load_head(tmp_path / "run")
    assert config.settings.head == "camoe" and isinstance(head.config, CamoeConfig)


def test_a_head_that_nobody_knows_is_refused(toy: Path, tmp_path: Path) -> None:
    train(toy, tmp_path / "runs" / "a", epochs=1)
    spoil(tmp_path / "runs" / "a", head="x-pool")
    with pytest.raises(
        WeightsError,
        match="run .*a has the head 'x-pool'; heads that this vtr knows: camoe; update vtr: pip install -U vtrcli, or",
    ):
        read_config(tmp_path / "runs" / "a")
    found, why = newest_fitting_run(
        tmp_path / "runs", toy / "store", FeatureStore(toy / "store").config.backbone
    )
    assert found is None and why is not None and "x-pool" in why
    with pytest.raises(UsageError, match="head 'x-pool'; known: camoe; choose one of them"):
        train(toy, tmp_path / "new", head="x-pool")
    assert not (tmp_path / "new").exists()
    with pytest.raises(UsageError):
        head_kind("x-pool")


def test_a_shape_that_cannot_be_is_a_damaged_run(toy: Path, tmp_path: Path) -> None:
    train(toy, tmp_path / "run", epochs=1)
    body = json.loads((tmp_path / "run" / "config.json").read_text())
    body["camoe"]["aggregator"] = "median"
    (tmp_path / "run" / "config.json").write_text(json.dumps(body))
    with pytest.raises(WeightsError, match="config.json is damaged: CAMoE aggregator = 'median'"):
        read_config(tmp_path / "run")


@pytest.mark.slow
def test_a_sentence_is_answered_by_the_second_head_with_every_option(
    max_sim: str, demo: Path, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    shutil.copytree(demo / "store", store)
    train_options: dict[str, Any] = {"dataset": "csv", "annotations": demo, "device": "cpu", "head": max_sim}
    vtr.train(store, out=tmp_path / "run", recipe="demo", epochs=2, **train_options)
    with open(demo / "captions.csv", newline="") as file:
        captions = [row["caption"] for row in csv.DictReader(file)]
    build_bank(store, captions, device="cpu")
    run = TrainedRun(tmp_path / "run", device="cpu")
    opened = FeatureStore(store)
    text = "a red circle"
    rows = encode_streams([text], load_tagger(), open_text_tower(opened, device="cpu"))[0]
    ids = list(opened.videos)
    dense = dict(zip(ids, run.scores(run.texts(rows), run.videos(opened, ids))[0], strict=True))
    asked: dict[str, Any] = {"run": tmp_path / "run", "device": "cpu", "top_k": 5}
    result = vtr.search(text, store, **asked)
    assert result.run == str(tmp_path / "run")
    best = sorted(dense, key=lambda name: -dense[name])[:5]
    assert [hit.video_id for hit in result.hits] == best  # 24 videos: all of them are ranked anew
    np.testing.assert_allclose([hit.score for hit in result.hits], [dense[name] for name in best], atol=1e-5)
    again = vtr.search(text, store, **asked)  # the query is kept now
    assert [hit.score for hit in again.hits] == [hit.score for hit in result.hits]
    few = vtr.search(text, store, num_reranked=5, **asked)
    first = vtr.search(text, store, top_k=5, device="cpu")
    assert {hit.video_id for hit in few.hits} == {hit.video_id for hit in first.hits}

    bank = run.texts(open_bank(store, opened.config.backbone).rows)
    of_bank = run.scores(bank, run.videos(opened, ids))
    corrected = dict(
        zip(
            ids,
            np.array(list(dense.values())) - 0.25 * np.sort(of_bank, axis=0)[-8:].mean(axis=0),
            strict=True,
        )
    )
    nnn = vtr.search(text, store, method="nnn", **asked)
    assert [hit.video_id for hit in nnn.hits] == sorted(corrected, key=lambda name: -corrected[name])[:5]
    relevant = vtr.search(text, store, min_relevance=0.0, **{**asked, "top_k": 24})
    far = (np.array(list(dense.values())) - of_bank.mean()) / of_bank.std()
    assert len(relevant.hits) == int((far >= 0.0).sum()) > 0
    moments = vtr.search(text, store, moments=True, **asked)
    assert len(moments.hits) == 5 and moments.run == str(tmp_path / "run")


@pytest.mark.slow
def test_a_second_head_is_trained_with_the_backbone_too(max_sim: str, tmp_path: Path) -> None:
    (tmp_path / "toy").mkdir()
    toy = make_toy_frames(tmp_path / "toy")
    result = vtr.train(
        toy / "store",
        dataset="csv",
        annotations=toy,
        out=tmp_path / "run",
        device="cpu",
        head=max_sim,
        finetune=True,
        epochs=2,
        batch_size=8,
        frames=3,
    )
    names = {
        name.split(".")[1] for name in load_file(tmp_path / "run" / "last.safetensors") if "model." in name
    }
    assert names == {max_sim, "clip"}
    assert result.epochs == 2 and result.val["t2v"]["R@1"] >= 0
