"""Ranks survive the way to disk, and a file that holds none says what to do."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from vtrcli.errors import InputError
from vtrcli.evaluation.comparison import RanksFile, choose_row, read_ranks, require_same_queries, write_ranks
from vtrcli.evaluation.evaluate import EvaluationInputs, EvaluationSettings, evaluate_inputs
from vtrcli.ranking.metrics import Ties
from vtrcli.ranking.scores import DenseScores
from vtrcli.ranking.truth import Truth


def save(path: Path, *, seed: int = 0) -> Path:
    matrix = np.random.default_rng(seed).random((9, 9)).astype(np.float32)
    inputs = EvaluationInputs(DenseScores(matrix), Truth.diagonal((9, 9)), model="random")
    write_ranks(evaluate_inputs(inputs, EvaluationSettings(methods=("dsl",), num_bootstrap=0)), path)
    return path


def test_rows_come_back_with_their_ranks(tmp_path: Path) -> None:
    rows = read_ranks(save(tmp_path / "a.json")).rows
    assert [(row.metrics.direction, row.method, row.transductive) for row in rows] == [
        ("t2v", "none", False),
        ("v2t", "none", False),
        ("t2v", "dsl", True),
        ("v2t", "dsl", True),
    ]
    assert len(rows[0].metrics.ranks) == 9 and rows[0].metrics.ranks.min() >= 1


def test_a_row_that_is_not_there_names_those_that_are(tmp_path: Path) -> None:
    file = read_ranks(save(tmp_path / "a.json"))
    with pytest.raises(
        InputError, match="has no ranks of t2v csls; it has t2v none, v2t none, t2v dsl, v2t dsl; "
    ):
        choose_row(file, direction="t2v", method="csls")


def saved_with_names(path: Path, prefix: str, *, texts: str = "text", ties: Ties = "average") -> RanksFile:
    """Six captions of three videos, named as a data set names them."""
    truth = Truth.from_videos([0, 0, 1, 1, 2, 2], num_videos=3)
    inputs = EvaluationInputs(
        DenseScores(np.random.default_rng(0).random((6, 3)).astype(np.float32)),
        truth,
        model="random",
        texts=tuple(f"{texts} {row}" for row in range(6)),
        caption_ids=tuple(f"{prefix}{row // 2}#{row % 2}" for row in range(6)),
    )
    write_ranks(evaluate_inputs(inputs, EvaluationSettings(ties=ties, num_bootstrap=0)), path)
    return read_ranks(path)


def test_ranks_keep_the_names_of_their_queries_and_the_clusters(tmp_path: Path) -> None:
    file = saved_with_names(tmp_path / "a.json", "video")
    assert file.query_ids == {
        "t2v": ["video0#0", "video0#1", "video1#0", "video1#1", "video2#0", "video2#1"],
        "v2t": ["video0", "video1", "video2"],
    }
    t2v, v2t = (choose_row(file, direction=way, method="none").metrics for way in ("t2v", "v2t"))
    assert (t2v.clusters.tolist(), v2t.over, v2t.num_clusters) == ([0, 0, 1, 1, 2, 2], "videos", 3)
    assert require_same_queries(file, file) is None


def test_other_queries_are_refused(tmp_path: Path) -> None:
    a = saved_with_names(tmp_path / "a.json", "video")
    b = saved_with_names(tmp_path / "b.json", "clip")
    with pytest.raises(InputError) as caught:
        require_same_queries(a, b)
    assert str(caught.value) == (
        f"{a.path} and {b.path} hold other queries: 6 of 6 differ, the first is 'video0#0' and 'clip0#0'; a paired "
        "test needs the same queries, in the same order on both sides; evaluate both on the same split with "
        "--save-ranks"
    )
    c = saved_with_names(tmp_path / "c.json", "video", texts="another text")
    with pytest.raises(InputError, match="hold other queries: the same ids with other texts; "):
        require_same_queries(a, c)
    d = saved_with_names(tmp_path / "d.json", "video", ties="optimistic")
    with pytest.raises(
        InputError, match=r"a\.json ranks equal scores by 'average', .*d\.json by 'optimistic'; one "
    ):
        require_same_queries(a, d)


def test_without_names_the_mapping_is_compared_and_the_rest_is_said(tmp_path: Path) -> None:
    named = saved_with_names(tmp_path / "a.json", "video")
    bare = read_ranks(save(tmp_path / "b.json"))
    assert bare.query_ids == {}
    with pytest.raises(InputError, match="which video belongs to which text differs; a paired test needs"):
        require_same_queries(named, bare)
    assert require_same_queries(bare, bare) == (
        "the queries have no names in one of the files: that they are the same cannot be checked"
    )


def test_a_file_of_an_older_version_is_read(tmp_path: Path) -> None:
    body = json.loads(save(tmp_path / "a.json").read_text())
    for key in ("query_ids", "queries", "truth"):
        del body[key]
    for row in body["rows"]:
        del row["over"], row["clusters"]
    (tmp_path / "old.json").write_text(json.dumps(body))
    old = read_ranks(tmp_path / "old.json")
    assert old.rows[1].metrics.over == "captions" and old.rows[0].metrics.num_clusters == 9
    assert require_same_queries(old, read_ranks(tmp_path / "a.json")) is not None


def test_a_row_with_a_bank_has_a_name_of_its_own(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    source, bank = (DenseScores(rng.random((9, 9)).astype(np.float32)) for _ in range(2))
    inputs = EvaluationInputs(source, Truth.diagonal((9, 9)), model="random", bank=bank)
    result = evaluate_inputs(inputs, EvaluationSettings(methods=("dsl", "csls"), num_bootstrap=0))
    path = tmp_path / "a.json"
    write_ranks(result, path)
    file = read_ranks(path)
    row = choose_row(file, direction="t2v", method="dsl+bank")
    assert not row.transductive
    assert choose_row(file, direction="t2v", method="dsl").transductive
    with pytest.raises(InputError, match=r"has no ranks of t2v nnn; it has .*t2v dsl\+bank.*t2v csls\+bank"):
        choose_row(file, direction="t2v", method="nnn")


@pytest.mark.parametrize(
    "text",
    [None, "", "{}", '{"format": "vtr-ranks", "version": 1, "ties": "average", "rows": [{"ranks": [0.5]}]}'],
)
def test_anything_else_is_one_clear_line(tmp_path: Path, text: str | None) -> None:
    path = tmp_path / "a.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(InputError) as caught:
        read_ranks(path)
    assert str(caught.value).startswith(f"{path} cannot be compared: ")
    assert str(caught.value).endswith("; a file of ranks; write one with `vtr eval --save-ranks FILE.json`")
