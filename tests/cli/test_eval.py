"""`vtr eval` and `vtr compare` on matrices: the JSON keys, the files they write, and every way to ask wrongly."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.cli.runner import run, run_json


@pytest.fixture
def matrix(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    scores = rng.random((20, 20)).astype(np.float32) * 0.3 + 0.2 * np.eye(20, dtype=np.float32)
    np.save(tmp_path / "scores.npy", scores)
    return tmp_path / "scores.npy"


def test_the_json_has_the_keys_that_others_rely_on(matrix: Path) -> None:
    body = run_json("eval", "--similarities", str(matrix), "--dsl")
    keys = {
        "schema",
        "command",
        "dataset",
        "split",
        "num_texts",
        "num_videos",
        "ties",
        "num_ties",
        "logit_scale",
    }
    assert body.keys() >= {*keys, "results"}
    assert (body["logit_scale"], body["logit_scale_from"], body["logit_bias"]) == (100.0, "cosines", None)
    rows = [
        (row["direction"], row["method"], row["temperature"], row["transductive"]) for row in body["results"]
    ]
    assert rows == [
        ("t2v", "none", None, False),
        ("v2t", "none", None, False),
        ("t2v", "dsl", 1.0, True),
        ("v2t", "dsl", 1.0, True),
    ]
    assert body["results"][0].keys() >= {"R@1", "R@5", "R@10", "MdR", "MnR", "R@1_ci95"}


def test_arrivals_and_sweep_are_in_the_json_when_asked_for(matrix: Path) -> None:
    body = run_json(
        "eval",
        "--similarities",
        str(matrix),
        "--dsl",
        "--arrivals",
        "1,20",
        "--sweep",
        "1,10",
        "--bootstrap",
        "0",
    )
    plain, corrected = body["results"][0]["R@1"], body["results"][2]["R@1"]
    t2v = {row["batch_size"]: row["R@1"] for row in body["arrivals"] if row["direction"] == "t2v"}
    assert t2v == {1: plain, 20: corrected}
    assert [row["temperature"] for row in body["sweep"]] == [1.0, 1.0, 10.0, 10.0]


def test_what_is_saved_can_be_evaluated_and_compared_again(matrix: Path, tmp_path: Path) -> None:
    saved, ranks = tmp_path / "copy.npy", tmp_path / "ranks.json"
    first = run_json(
        "eval",
        "--similarities",
        str(matrix),
        "--dsl",
        "--save-similarities",
        str(saved),
        "--save-ranks",
        str(ranks),
    )
    assert run_json("eval", "--similarities", str(saved), "--dsl")["results"] == first["results"]
    same = run_json("compare", str(ranks), str(ranks))
    assert all(row["difference"] == 0 and row["p_value"] == 1 for row in same["results"])
    gain = run_json("compare", str(ranks), str(ranks), "--method-b", "dsl", "--direction", "t2v")["results"][
        0
    ]
    assert gain["difference"] == pytest.approx(first["results"][2]["R@1"] - first["results"][0]["R@1"])


def test_vectors_and_a_mapping_equal_their_matrix(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    texts, videos = rng.normal(size=(6, 8)), rng.normal(size=(3, 8))
    unit = [part / np.linalg.norm(part, axis=1, keepdims=True) for part in (texts, videos)]
    np.save(tmp_path / "texts.npy", texts.astype(np.float32))
    np.save(tmp_path / "videos.npy", videos.astype(np.float32))
    np.save(tmp_path / "matrix.npy", (unit[0] @ unit[1].T).astype(np.float32))
    (tmp_path / "map.txt").write_text("0\n0\n1\n1\n2\n2\n")
    vectors = ("--text-vectors", str(tmp_path / "texts.npy"), "--video-vectors", str(tmp_path / "videos.npy"))
    mapping = ("--text-to-video", str(tmp_path / "map.txt"))
    one = run_json("eval", *vectors, *mapping)
    other = run_json("eval", "--similarities", str(tmp_path / "matrix.npy"), *mapping)
    assert one["results"] == other["results"]
    assert (one["num_texts"], one["num_videos"]) == (6, 3)


@pytest.mark.parametrize(
    ("arguments", "exit_code", "message"),
    [
        (("--method", "nonsense"), 2, "method 'nonsense'; known are none, dsl, "),
        (("--dsl", "--temperature", "0"), 2, "a temperature of 0; "),
        (("--method", "csls", "--k", "99"), 2, "k = 99; there are 20 neighbours to look at; "),
        (("--dsl", "--arrivals", "a,b"), 2, "--arrivals a,b; whole numbers above 0, separated by commas; "),
        (("--dsl", "--sweep", "-1"), 2, "--sweep -1; numbers above 0, separated by commas; "),
        (("--arrivals", "1,4"), 2, "--arrivals without a method; "),
        (("--sweep", "all", "--method", "none"), 2, "--sweep without a method; "),
        (("--split", "val"), 2, "--split with scores from files; "),
        (("--run", "none"), 2, "--run with scores from files; "),
        (("--max-tokens", "32"), 2, "--max-tokens with scores from files; "),
        (("--dataset", "csv"), 2, "--dataset with scores from files; "),
        (("--memory", "inf"), 2, "--memory"),
        (("--memory", "nan"), 2, "--memory"),
        (("--seed", "-1"), 2, "--seed"),
        (("--bank", "train"), 2, "--bank train with scores from files; "),
        (("--report", "no/such/page.html"), 2, "no/such/page.html cannot be written; "),
        (
            ("--report", "q.trec"),
            2,
            "--report q.trec; a file that ends in .html or .htm; write --report q.html\n",
        ),
        (
            ("--save-ranks", "m.npy"),
            2,
            "--save-ranks m.npy; a file that ends in .json; write --save-ranks m.json\n",
        ),
        (
            ("--text-to-video", "map.json", "--save-ranks", "map.json"),
            2,
            "map.json is named twice, and would be written over; a result has a file of its own; ",
        ),
        (
            ("--save-ranks", "a.json", "--save-run", "./a.json"),
            2,
            "a.json is named twice, and would be written over; ",
        ),
        (("--text-vectors", "x.npy"), 2, "--similarities and vectors together, or only one side's vectors; "),
    ],
)
def test_wrong_usage_is_one_clear_line(
    matrix: Path, arguments: tuple[str, ...], exit_code: int, message: str
) -> None:
    result = run("eval", "--similarities", str(matrix), *arguments)
    assert result.exit_code == exit_code, result.output
    assert message in result.stderr and result.stdout == ""


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:-8]), "scores.npy"),
        (lambda path: np.save(path, np.ones((3, 4), np.float32)), "3 texts and 4 videos; "),
        (lambda path: np.save(path, np.ones((3, 3), np.int64)), "int64"),
        (lambda path: np.save(path, np.array([{"a": 1}]), allow_pickle=True), "scores.npy"),
        (lambda path: np.save(path, np.array([[1, np.nan], [0, 1]], np.float32)), "row 0"),
    ],
)
def test_a_matrix_that_cannot_be_trusted_is_exit_3(matrix: Path, make: object, message: str) -> None:
    make(matrix)  # type: ignore[operator]
    result = run("eval", "--similarities", str(matrix))
    assert result.exit_code == 3, result.output
    assert message in result.stderr


def test_auto_on_apple_silicon_evaluates(matrix: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert run_json("eval", "--similarities", str(matrix), "--dsl")["results"][0]["R@1"] > 0


def test_compare_refuses_other_queries(matrix: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "few.npy", np.eye(10, dtype=np.float32))
    for name in ("scores", "few"):
        saved = tmp_path / f"{name}.json"
        run_json("eval", "--similarities", str(tmp_path / f"{name}.npy"), "--save-ranks", str(saved))
    result = run("compare", str(tmp_path / "scores.json"), str(tmp_path / "few.json"))
    assert (result.exit_code, result.stdout) == (3, "")
    assert "hold other queries: which video belongs to which text differs" in result.stderr


def test_a_saved_matrix_needs_no_mapping(tmp_path: Path) -> None:
    np.save(tmp_path / "m.npy", np.random.default_rng(0).random((6, 3)).astype(np.float32))
    (tmp_path / "map.txt").write_text("2\n2\n1\n1\n0\n0\n")
    saved = str(tmp_path / "saved.npy")
    mapping = ("--text-to-video", str(tmp_path / "map.txt"))
    first = run_json(
        "eval", "--similarities", str(tmp_path / "m.npy"), *mapping, "--save-similarities", saved
    )
    assert run_json("eval", "--similarities", saved)["results"] == first["results"]
    other = run("eval", "--similarities", saved, "--save-similarities", str(tmp_path / "x.npz"))
    assert other.exit_code == 2
    assert f"a file that ends in .npy; write --save-similarities {tmp_path / 'x.npy'}" in other.stderr


def test_compare_refuses_other_files(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps({"schema": 1, "command": "eval"}))
    result = run("compare", str(tmp_path / "a.json"), str(tmp_path / "a.json"))
    assert result.exit_code == 3
    assert "write one with `vtr eval --save-ranks FILE.json`" in result.stderr


def test_a_mapping_with_a_data_set_is_refused() -> None:
    result = run("eval", "--dataset", "csv", "--annotations", ".", "--text-to-video", "map.txt")
    assert result.exit_code == 2
    assert result.stderr.startswith("vtr: --text-to-video with a data set; ")


def test_settings_for_the_other_way_of_evaluating_do_not_disturb(
    matrix: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(matrix.parent)
    (matrix.parent / "vtr.toml").write_text(
        'store = "s"\ndataset = "csv"\n[eval]\nsplit = "val"\nrun = "none"\n'
    )
    assert run("eval", "--similarities", "scores.npy").exit_code == 0
