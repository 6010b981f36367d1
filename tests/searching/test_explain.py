"""What an explanation says is what the search did."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest

import vtrcli as vtr
from tests.model.max_sim import MaxSim, MaxSimConfig
from vtrcli.errors import InputError
from vtrcli.model.heads import HEADS, HeadKind
from vtrcli.model.train_settings import Gate
from vtrcli.searching.explain import explain
from vtrcli.searching.query import Query, SearchSettings
from vtrcli.searching.searcher import Searcher

TEXTS = ("a red circle moves right", "a blue square", "it turns")


def train(demo: Path, out: Path, **settings: Any) -> Path:
    settings = {"recipe": "demo", "epochs": 1, "device": "cpu", **settings}
    vtr.train(demo / "store", dataset="csv", annotations=demo, out=out, **settings)
    return out


def run_of(demo: Path) -> Path:
    return next(path.parent for path in (demo / "runs").glob("*/config.json"))


def require_it_adds_up(searcher: Searcher, text: str) -> None:
    """To the score of the search, for every video that it found."""
    for hit in searcher.search(Query(text=text), SearchSettings(top_k=5)).hits:
        found = explain(searcher, text, searcher.catalog.number_of[hit.video_id])
        assert found.score == pytest.approx(hit.score, abs=1e-6) and found.scored_by == "run"
        assert sum(expert.contribution for expert in found.experts) == pytest.approx(hit.score, abs=1e-4)
        assert sum(expert.gate for expert in found.experts) == pytest.approx(1, abs=1e-5)
        for expert in found.experts:
            assert len(expert.frame_scores) == len(expert.frame_weights) == len(found.expert_timestamps)
            assert expert.frame_weights @ expert.frame_scores == pytest.approx(expert.score, abs=1e-5)


def test_the_parts_add_up_to_the_score_of_the_search(demo: Path) -> None:
    searcher = Searcher(demo / "store", run=run_of(demo), device="cpu")
    require_it_adds_up(searcher, TEXTS[0])


@pytest.mark.slow
@pytest.mark.parametrize("gate", get_args(Gate))
def test_they_do_for_every_gate(gate: str, demo: Path, tmp_path: Path) -> None:
    run = train(demo, tmp_path / "run", gate=gate, num_frames=5)
    searcher = Searcher(demo / "store", run=run, device="cpu")
    for text in TEXTS:
        require_it_adds_up(searcher, text)
        found = explain(searcher, text, 0)
        assert found.head["gate"] == gate
        masked = [expert.name for expert in found.experts if expert.is_masked]
        assert masked == {TEXTS[0]: [], TEXTS[1]: ["action"], TEXTS[2]: ["entity"]}[text]
        for expert in found.experts:
            assert expert.text == text or not expert.is_masked
            assert (expert.gate == 0) == (expert.is_masked and gate != "video")


def test_words_go_to_the_streams_that_the_run_reads(demo: Path) -> None:
    searcher = Searcher(demo / "store", run=run_of(demo), device="cpu")
    found = explain(searcher, " A red circle moves Right ", 3)
    assert found.sentence == "A red circle moves Right"
    shown = {found.sentence[word.start : word.end]: word.stream for word in found.words}
    assert shown["circle"] == "entity" and shown["moves"] == "action" and shown["red"] is None
    assert [(expert.name, expert.text) for expert in found.experts] == [
        ("fusion", "A red circle moves Right"),
        ("entity", "circle"),
        ("action", "moves"),
    ]


def test_without_a_run_the_frames_tell(demo: Path) -> None:
    searcher = Searcher(demo / "store", device="cpu")
    hit = searcher.search(TEXTS[0]).hits[0]
    found = explain(searcher, TEXTS[0], searcher.catalog.number_of[hit.video_id])
    assert found.scored_by == "max" and found.experts == () and found.words == ()
    assert float(found.frame_scores.max()) == pytest.approx(hit.score, abs=1e-6)
    peak = found.timestamps[int(np.argmax(found.frame_scores))]
    assert found.moments[0] == hit.moment and peak == pytest.approx(hit.moment.peak_seconds, abs=1e-3)
    assert found.note == "no run ranks here: the frames' scores are all there is; --run names one"


@pytest.mark.slow
def test_a_head_that_cannot_tell_says_so(demo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(HEADS, MaxSimConfig.name, HeadKind(MaxSimConfig, MaxSim))
    run = train(demo, tmp_path / "run", head=MaxSimConfig.name)
    found = explain(Searcher(demo / "store", run=run, device="cpu"), TEXTS[0], 0)
    assert found.note == "the head 'max-sim' cannot tell how its score comes about"
    assert found.experts == () and found.head == {"name": "max-sim"} and len(found.words) == 5
    assert np.isfinite(found.score) and len(found.frame_scores) == len(found.timestamps)


@pytest.mark.slow
def test_a_run_that_looks_at_fewer_frames_says_at_which(demo: Path, tmp_path: Path) -> None:
    run = train(demo, tmp_path / "run", num_frames=3)
    searcher = Searcher(demo / "store", run=run, device="cpu")
    found = explain(searcher, TEXTS[0], 0)
    assert set(found.expert_timestamps.tolist()) <= set(found.timestamps.tolist())
    assert found.note == f"the run looks at 3 of {len(found.timestamps)} frames"


def test_its_json_is_plain_and_adds_up(demo: Path) -> None:
    searcher = Searcher(demo / "store", run=run_of(demo), device="cpu")
    body = json.loads(json.dumps(explain(searcher, TEXTS[0], 0).to_json(), allow_nan=False))
    assert body["query"] == TEXTS[0] and body["head"] == {
        "name": "camoe",
        "gate": "video",
        "aggregator": "attention",
    }
    assert sum(expert["contribution"] for expert in body["experts"]) == pytest.approx(body["score"], abs=1e-4)
    assert body["words"][2] == {"text": "circle", "start": 6, "end": 12, "stream": "entity"}


def test_nothing_is_no_sentence(demo: Path) -> None:
    with pytest.raises(InputError, match="a query of 0 characters"):
        explain(Searcher(demo / "store", device="cpu"), " ", 0)
