"""Tables for papers: plain beside corrected, transductive rows marked in each format."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

import vtrcli as vtr
from tests.ranking.runs import diagonal, run_of, write_qrels, write_trec
from vtrcli.evaluation.evaluate import EvaluationResult
from vtrcli.evaluation.tables import TRANSDUCTIVE, write_table


@pytest.fixture
def result() -> EvaluationResult:
    rng = np.random.default_rng(0)
    matrix = (rng.random((30, 30)) * 0.3 + 0.1 * np.eye(30)).astype(np.float32)
    return vtr.evaluate(matrix, dsl=True, metrics=["nDCG@10"])


def table(result: EvaluationResult, path: Path) -> str:
    write_table(result, path, metrics=["ndcg@10"])
    return path.read_text()


def test_latex(result: EvaluationResult, tmp_path: Path) -> None:
    lines = table(result, tmp_path / "t.tex").splitlines()
    assert lines[0].startswith(
        "% scores from a file, 30x30 array: 30 texts, 30 videos; ties average; protocol "
    )
    assert lines[1:4] == [
        r"\begin{tabular}{llrrrrrrr}",
        r"\toprule",
        r" & Method & R@1 & 95\,\% & R@5 & R@10 & MdR & MnR & nDCG@10 \\",
    ]
    plain = result.evaluations[0].t2v
    assert lines[5].startswith(f"text to video & plain & {plain.recall[1]:.1f} & ")
    assert lines[5].endswith(f" & {plain.more['nDCG@10']:.4f} \\\\")
    assert lines[6].startswith(r" & dsl, T 1$^\dagger$ & ")
    assert lines[-2] == rf"\multicolumn{{9}}{{l}}{{\footnotesize $^\dagger$ {TRANSDUCTIVE}}} \\"
    assert {line.count("&") for line in lines if line.endswith(r"\\") and "multicolumn" not in line} == {8}


def test_markdown(result: EvaluationResult, tmp_path: Path) -> None:
    lines = table(result, tmp_path / "t.md").splitlines()
    assert lines[:2] == [
        "|  | method | R@1 | 95 % | R@5 | R@10 | MdR | MnR | nDCG@10 |",
        "|---|---|" + "---:|" * 7,
    ]
    assert [line.split("|")[2].strip() for line in lines[2:6]] == ["plain", "dsl, T 1 †"] * 2
    assert f"† {TRANSDUCTIVE}" in lines


def test_csv_has_the_rows_of_json_in_full(result: EvaluationResult, tmp_path: Path) -> None:
    rows = list(csv.DictReader(table(result, tmp_path / "t.csv").splitlines()))
    for row, expected in zip(rows, result.table(), strict=True):
        assert float(row["MnR"]) == expected["MnR"] and row["transductive"] == str(expected["transductive"])
        assert [float(row[f"R@1_ci95_{end}"]) for end in ("low", "high")] == expected["R@1_ci95"]
        assert row["protocol"] == result.protocol()["fingerprint"]


def test_no_mark_and_no_note_without_a_correction(tmp_path: Path) -> None:
    result = vtr.evaluate(np.eye(3, dtype=np.float32), metrics=["ndcg@10"])
    for name in ("t.tex", "t.md"):
        text = table(result, tmp_path / name)
        assert "dagger" not in text and "†" not in text


def test_a_cut_run_says_what_is_not_listed(tmp_path: Path) -> None:
    matrix = np.random.default_rng(0).random((30, 30)).astype(np.float32)
    files = {
        "trec": write_trec(tmp_path / "run_1.trec", run_of(matrix, top=9)),
        "qrels": write_qrels(tmp_path / "qrels", diagonal(30)),
    }
    result = vtr.evaluate(**files, metrics=["ndcg@10"])
    num = result.evaluations[0].t2v.num_unlisted
    for name in ("t.tex", "t.md"):
        text = table(result, tmp_path / name)
        assert f"{num} of 30 texts have no right video in their list: they rank last" in text
        assert "video to text" not in text
    assert r"run\_1.trec" in table(result, tmp_path / "t.tex")
    assert str(tmp_path) not in table(result, tmp_path / "t.md")
