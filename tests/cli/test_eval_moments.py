"""`vtr eval --moments`: files and stores on the command line, the JSON, the table, and every way to ask wrongly."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.runner import run, run_json
from tests.moments.films import make_films
from tests.moments.made import predicted_row, truth_row, write_lines


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, str]:
    """Predictions and truth of 24 queries about 24 videos; half are found."""
    truth = [truth_row(n, vid=f"v{n}") for n in range(24)]
    found = [[[10, 20, 1.0]], [[30, 40, 0.9], [10, 20, 0.8]]]
    pred = [predicted_row(n, vid=f"v{n}", pred_relevant_windows=found[n % 2]) for n in range(24)]
    return (
        str(write_lines(tmp_path / "pred.jsonl", pred)),
        str(write_lines(tmp_path / "truth.jsonl", truth)),
    )


def test_predictions_against_a_truth(files: tuple[str, str]) -> None:
    body = run_json("eval", "--moments", files[0], "--truth", files[1])
    assert body.keys() == {
        "schema", "command", "task", "model", "dataset", "split", "num_queries", "num_videos", "num_windows",
        "conventions", "protocol", "results", "reference", "notes",
    }  # fmt: skip
    assert (body["task"], body["num_queries"], body["num_videos"]) == ("moments", 24, 24)
    assert len(body["protocol"]["fingerprint"]) == 12
    full, short, middle = body["results"][:3]
    assert (full["part"], full["R1@0.5"], full["R5@0.5"], full["mIoU"], full["mAP"]) == (
        "full",
        50,
        100,
        50,
        75,
    )
    assert full["R1@0.5_ci95"][0] < 50 < full["R1@0.5_ci95"][1]
    assert (short["part"], short["num_queries"]) == ("short", 24)
    assert (middle["num_queries"], middle["R1@0.5"]) == (0, None)
    assert body["reference"]["brief"]["MR-full-mAP"] == 75
    assert body["reference"]["long"]["MR-R1"]["0.5"] is None


def test_the_conventions_are_options(files: tuple[str, str]) -> None:
    body = run_json(
        "eval", "--moments", files[0], "--truth", files[1], "--first", "scored", "--max-windows", "1", "--ties",
        "pessimistic", "--ap", "plain", "--bootstrap", "0",
    )  # fmt: skip
    assert body["conventions"] == {"first": "scored", "max_windows": 1, "ties": "pessimistic", "ap": "plain"}
    assert (body["results"][0]["R5@0.5"], body["results"][0]["mAP"]) == (50, 50)
    usual = run_json("eval", "--moments", files[0], "--truth", files[1], "--bootstrap", "0")
    assert usual["protocol"]["fingerprint"] != body["protocol"]["fingerprint"]
    shown = run("eval", "--moments", files[0], "--truth", files[1], "--max-windows", "0")
    assert "not QVHighlights' conventions: max windows all; published numbers do not compare" in shown.stderr


def test_the_table(files: tuple[str, str]) -> None:
    shown = run("eval", "--moments", files[0], "--truth", files[1])
    assert [line.split() for line in shown.stdout.splitlines()] == [
        "true windows queries R1@0.3 R1@0.5 95 % R1@0.7 R5@0.3 R5@0.5 R5@0.7 mIoU mAP 95 % mAP@0.5 mAP@0.75".split(),
        "all windows 24 50.00 50.00 29.2-70.8 50.00 100.00 100.00 100.00 50.00 75.00 64.6-85.4 75.00 75.00".split(),
    ]
    assert shown.stderr.startswith(f"{files[0]} · 24 queries about 24 videos, 24 true windows\n")


def test_without_intervals_there_is_no_column_for_them(tmp_path: Path) -> None:
    rated = {"relevant_clip_ids": [5, 6, 7, 8, 9], "saliency_scores": [[4, 4, 4]] * 5}
    truth = write_lines(tmp_path / "truth.jsonl", [truth_row(n, vid=f"v{n}", **rated) for n in range(3)])
    pred = write_lines(
        tmp_path / "pred.jsonl",
        [predicted_row(n, vid=f"v{n}", pred_saliency_scores=[0.5] * 75) for n in range(3)],
    )
    shown = run("eval", "--moments", str(pred), "--truth", str(truth), "--bootstrap", "0").stdout
    assert "HIT@1" in shown and "95 %" not in shown


def test_scores_are_saved_and_compared(files: tuple[str, str], tmp_path: Path) -> None:
    paths = str(tmp_path / "a.json"), str(tmp_path / "b.json")
    for path in paths:
        assert run("eval", "--moments", files[0], "--truth", files[1], "--save-ranks", path).exit_code == 0
    body = run_json("compare", *paths)
    rows = {(row["part"], row["metric"]): row for row in body["results"]}
    assert rows["full", "mAP"]["difference"] == 0
    assert rows["full", "mAP"]["p_value"] == 1
    shown = run("compare", *paths)
    assert shown.stdout.splitlines()[1].split() == [
        "all",
        "windows",
        "R1@0.3",
        "50.00",
        "50.00",
        "+0.00",
        "+0.00",
        "to",
        "+0.00",
        "1.000",
    ]
    assert "all windows: 24 videos resampled with all their queries" in shown.stderr
    wrong = run("compare", *paths, "--direction", "t2v")
    assert wrong.exit_code == 2
    assert "--direction with scores of moments; it chooses a row of ranks; leave it out" in wrong.stderr


@pytest.mark.slow
def test_a_store_answers_with_and_without_a_word_behind_the_option(demo: Path, tmp_path: Path) -> None:
    make_films(demo, tmp_path)
    saved, about = (
        tmp_path / "m.jsonl",
        ("--store", str(tmp_path / "store"), "--dataset", "csv", "--device", "cpu"),
    )
    where = ("--annotations", str(tmp_path))
    first = run_json("eval", "--moments", *about, *where, "--save-moments", str(saved), "-q")
    assert (first["dataset"], first["split"], first["num_queries"]) == ("csv", "test", 24)
    for word in (("--moments", "store"), ("--moments=store",)):
        assert run_json("eval", *word, *about, *where)["results"] == first["results"]
    row = json.loads(saved.read_text().splitlines()[0])
    assert row.keys() == {"qid", "query", "vid", "pred_relevant_windows", "pred_saliency_scores"}
    again = run_json("eval", *about[2:4], *where, "--moments", str(saved))
    assert again["results"] == first["results"]
    by_corpus = run_json("eval", *about, *where, "--corpus", "--moments")
    assert [part["part"] for part in by_corpus["results"]][-3:] == ["VCMR", "SVMR", "VR"]
    by_run = run_json("eval", *about, *where, "--moments", "--run", str(demo / "runs" / "demo"))
    assert by_run["results"][-1]["R100"] == 100
    assert by_run["results"][0]["mAP"] == first["results"][0]["mAP"]


@pytest.mark.parametrize(
    ("arguments", "exit_code", "message"),
    [
        (
            ("--moments", "P"),
            2,
            "neither --truth nor --dataset is set; --truth FILE, or a data set of moments with ",
        ),
        (("--moments", "P", "--dataset", "csv"), 2, "neither --truth nor --annotations is set; "),
        (
            ("--moments", "P", "--truth", "T", "--dsl"),
            2,
            "--dsl with --moments; it is about whole videos; leave one of ",
        ),
        (
            ("--moments", "P", "--truth", "T", "--run", "r"),
            2,
            "--run with a file of moments; what the file predicts is ",
        ),
        (("--moments", "P", "--truth", "T", "--corpus"), 2, "--corpus with a file of moments; "),
        (
            ("--moments", "P", "--truth", "T", "--dataset", "csv"),
            2,
            "--dataset with --truth; the truth is a file, or ",
        ),
        (
            ("--moments", "P", "--truth", "T", "--ties", "average"),
            2,
            "--ties average with --moments; listed, optimistic ",
        ),
        (
            ("--moments", "none.jsonl", "--truth", "T"),
            3,
            "none.jsonl: no such file; a file that is there; check the path",
        ),
        (
            ("--moments", "P", "--truth", "none.jsonl"),
            3,
            "none.jsonl: no such file; a file that is there; check the path",
        ),
        (
            ("--moments", "P", "--truth", "T", "--save-moments", "no/such/f.jsonl"),
            2,
            "no/such/f.jsonl cannot be written",
        ),
        (
            ("--moments", "P", "--truth", "T", "--save-moments", "found.txt"),
            2,
            "--save-moments found.txt; a file that ends in .jsonl (QVHighlights) or .json (TVR): the ending is the "
            "layout; write --save-moments found.jsonl",
        ),
        (("--moments", "P", "--moments", "T"), 2, "--moments was given 2 times; it has one value; "),
        (("--truth", "T"), 2, "--truth without --moments; it is about moments; add --moments"),
        (("--save-moments", "x.jsonl"), 2, "--save-moments without --moments; "),
        (
            ("--similarities", "P", "--ties", "listed"),
            2,
            "--ties listed without --moments; average, optimistic or ",
        ),
        (
            ("--moments", "--dataset", "msvd", "--annotations", "."),
            2,
            "no data set of moments is called 'msvd'; one of q",
        ),
        (
            ("--moments", "--dataset", "tvr", "--annotations", ".", "--split", "test"),
            2,
            "tvr has no split 'test' with ",
        ),
        (
            ("--moments", "--dataset", "tvr", "--annotations", "."),
            3,
            ". holds no tvr_val_release.jsonl and no tvr_val.jsonl",
        ),
    ],
)
def test_asking_wrongly_is_told(
    files: tuple[str, str], arguments: tuple[str, ...], exit_code: int, message: str
) -> None:
    words = {"P": files[0], "T": files[1]}
    result = run("eval", *(words.get(argument, argument) for argument in arguments))
    assert (result.exit_code, result.stderr.startswith(f"vtr: {message}")) == (exit_code, True), result.stderr
