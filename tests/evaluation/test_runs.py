"""`vtr eval --trec`: a run and its qrels through the command, complete and cut, and every way to ask wrongly."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import vtrcli as vtr
from tests.cli.runner import run, run_json
from tests.ranking.runs import diagonal, run_of, write_beir, write_qrels, write_trec


@pytest.fixture
def matrix() -> np.ndarray:
    rng = np.random.default_rng(0)
    return (rng.random((30, 30)) * 0.3 + 0.2 * np.eye(30)).astype(np.float32)


@pytest.fixture
def files(matrix: np.ndarray, tmp_path: Path) -> tuple[str, ...]:
    """The options of a run that lists ten of thirty."""
    qrels = write_qrels(tmp_path / "qrels", diagonal(30))
    return ("--trec", str(write_trec(tmp_path / "run.trec", run_of(matrix, top=10))), "--qrels", str(qrels))


def test_a_cut_run_counts_one_direction_and_says_what_rests_on_its_lists(
    files: tuple[str, ...], matrix: np.ndarray
) -> None:
    body = run_json("eval", *files)
    (row,) = body["results"]
    whole = vtr.evaluate(matrix).table()[0]
    listed = np.argsort(np.argsort(-matrix, axis=1), axis=1).diagonal() < 10
    assert row["num_unlisted"] == np.count_nonzero(~listed) > 0
    assert {k: row[k] for k in ("R@1", "R@5", "R@10")} == {k: whole[k] for k in ("R@1", "R@5", "R@10")}
    # Twenty are not listed: the right one is, on average, ten and a half places behind the ten.
    ranks = np.where(listed, 1 + (matrix > matrix.diagonal()[:, None]).sum(1), 10 + 10.5)
    assert row["MnR"] == pytest.approx(ranks.mean())
    assert (body["num_texts"], body["num_videos"]) == (30, 30)
    assert body["notes"][0] == (
        "the run lists 10 of 30 videos for a text: what is not listed ranks last, in no order; video to text needs all "
        "pairs and is left out"
    )


def test_the_table_has_a_column_of_what_is_not_listed(files: tuple[str, ...]) -> None:
    shown = run("eval", *files)
    heading, row = shown.stdout.splitlines()
    assert "not listed" in heading and "%" in row and row.startswith("t2v")
    assert "with no right video in their list; they rank last" in shown.stderr


def test_a_complete_run_is_a_matrix(matrix: np.ndarray, tmp_path: Path) -> None:
    path = write_trec(tmp_path / "run.trec", run_of(matrix), newline="\r\n")
    qrels = write_qrels(tmp_path / "qrels", diagonal(30))
    found = vtr.evaluate(trec=path, qrels=qrels, dsl=True)
    assert found.table() == vtr.evaluate(matrix, dsl=True).table()


def test_a_beir_folder_names_texts_and_all_videos(matrix: np.ndarray, tmp_path: Path) -> None:
    path = write_trec(tmp_path / "run.trec", run_of(matrix, top=10))
    corpus = [f"v{number}" for number in range(40)]
    found = vtr.evaluate(trec=path, qrels=write_beir(tmp_path / "set", diagonal(30), corpus=corpus))
    assert (found.evaluations[0].num_videos, found.inputs.texts[7]) == (40, "text of q7")
    assert (found.inputs.dataset, found.inputs.split) == (str(tmp_path / "set"), "test")
    other = vtr.evaluate(trec=path, qrels=write_qrels(tmp_path / "qrels", diagonal(30)), num_videos=40)
    assert found.table() == other.table()


def test_a_run_with_items_that_the_corpus_lacks_is_refused(matrix: np.ndarray, tmp_path: Path) -> None:
    path = write_trec(tmp_path / "run.trec", run_of(matrix))
    folder = write_beir(tmp_path / "set", {"q0": {"v0": 1}})
    result = run("eval", "--trec", str(path), "--qrels", str(folder))
    assert result.exit_code == 3
    assert result.stderr.startswith(f"vtr: {path}: 29 items are not in the corpus: v")


def test_grades_are_cut_and_said(tmp_path: Path) -> None:
    path = write_trec(tmp_path / "run.trec", {"q0": {"a": 0.9, "b": 0.5}})
    qrels = write_qrels(tmp_path / "qrels", {"q0": {"a": 1, "b": 2}})
    files = ("--trec", str(path), "--qrels", str(qrels))
    assert run_json("eval", *files)["results"][0]["MnR"] == 1
    body = run_json("eval", *files, "--relevant-from", "2")
    assert body["results"][0]["MnR"] == 2
    assert body["notes"][0] == "grades are 1 to 2; right is what has 2 or more"


@pytest.mark.parametrize(
    ("arguments", "exit_code", "message"),
    [
        (
            ("--dsl",),
            3,
            "dsl on a run that lists 300 of 900 pairs; a correction weighs every score of a video against",
        ),
        (
            ("--similarities", "m.npy"),
            2,
            "a run with scores, a mapping or a bank from other files; ",
        ),
        (
            ("--bank", "train"),
            2,
            "a run with scores, a mapping or a bank from other files; ",
        ),
        (("--dataset", "csv"), 2, "--dataset with scores from files; "),
        (("--split", "val"), 2, "--split with scores from files; "),
        (("--num-videos", "3"), 3, "3 videos, but run and qrels name 30; "),
    ],
)
def test_wrong_usage_is_one_clear_line(
    files: tuple[str, ...], arguments: tuple[str, ...], exit_code: int, message: str
) -> None:
    result = run("eval", *files, *arguments)
    assert (result.exit_code, result.stdout) == (exit_code, ""), result.output
    assert result.stderr.startswith(f"vtr: {message}")


def test_what_is_confused_is_said(files: tuple[str, ...], tmp_path: Path) -> None:
    (_, run_file, _, qrels) = files
    assert run("eval", "--trec", run_file).stderr.endswith("; add --qrels QRELS\n")
    assert run("eval", "--qrels", qrels).stderr.endswith("; add --trec RUN\n")
    swapped = run("eval", "--trec", qrels, "--qrels", run_file)
    assert swapped.exit_code == 3
    assert swapped.stderr.rstrip().endswith("that is a run: it goes with --trec")
    np.save(tmp_path / "m.npy", np.eye(3))
    matrix = run("eval", "--trec", str(tmp_path / "m.npy"), "--qrels", qrels)
    assert matrix.exit_code == 2
    assert matrix.stderr.rstrip().endswith("give it with --similarities")
    absent = run("eval", "--trec", run_file, "--qrels", "nowhere")
    assert (absent.exit_code, absent.stderr.rstrip()) == (
        3, "vtr: nowhere: no such file; qrels are a file, or a BEIR folder; check the path",
    )  # fmt: skip


def test_a_cut_run_is_no_matrix(files: tuple[str, ...], tmp_path: Path) -> None:
    result = run("eval", *files, "--save-similarities", str(tmp_path / "s.npy"))
    assert result.exit_code == 3
    assert (
        "s.npy: a matrix of a run that lists 300 of 900 pairs; a matrix has a score for every pair; write"
        in result.stderr
    )
    assert not (tmp_path / "s.npy").exists()


def test_a_run_alone_is_refused(files: tuple[str, ...]) -> None:
    assert run("eval", *files[:2]).exit_code == 2
    assert run("eval", *files[2:]).exit_code == 2


def test_a_report_of_a_cut_run_can_be_written(files: tuple[str, ...], tmp_path: Path) -> None:
    run_json(
        "eval", *files, "--report", str(tmp_path / "page.html"), "--save-ranks", str(tmp_path / "ranks.json")
    )
    assert "not listed" in (tmp_path / "page.html").read_text()
    saved = json.loads((tmp_path / "ranks.json").read_text())
    assert [row["direction"] for row in saved["rows"]] == ["t2v"]
