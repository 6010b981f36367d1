"""Many results at once: what differs is said first, each is tested against the first, seeds count as one."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.cli.runner import run, run_json, run_on_terminal
from tests.ranking.runs import diagonal, run_of, write_qrels, write_trec
from vtrcli.errors import InputError
from vtrcli.evaluation.comparison import read_contenders, read_ranks, remarks, standings, write_ranks
from vtrcli.evaluation.evaluate import EvaluationInputs, EvaluationSettings, evaluate_inputs
from vtrcli.evaluation.protocol import QUESTION, SYSTEM, differences
from vtrcli.ranking.metrics import holm
from vtrcli.ranking.scores import DenseScores
from vtrcli.ranking.truth import Truth

SIZE = 60


def save(path: Path, *, noise: float, seed: int = 0, **about: object) -> str:
    """The ranks of a made model with names; `about`: of its inputs."""
    rng = np.random.default_rng(seed)
    matrix = (np.eye(SIZE) + noise * rng.standard_normal((SIZE, SIZE))).astype(np.float32)
    known = {
        "texts": tuple(f"text {number}" for number in range(SIZE)),
        "caption_ids": tuple(f"v{number}#0" for number in range(SIZE)),
        "dataset": "made",
        "split": "test",
        **about,
    }
    inputs = EvaluationInputs(DenseScores(matrix), Truth.diagonal((SIZE, SIZE)), model="made", **known)  # type: ignore[arg-type]
    write_ranks(evaluate_inputs(inputs, EvaluationSettings(num_bootstrap=0)), path)
    return str(path)


def test_each_is_tested_against_the_first_and_corrected_for_their_number(tmp_path: Path) -> None:
    files = [
        save(tmp_path / f"{name}.json", noise=noise) for name, noise in (("a", 0.5), ("b", 0.52), ("c", 1.5))
    ]
    body = run_json("compare", *files)
    rows = [row for row in body["results"] if row["direction"] == "t2v"]
    assert [row["name"] for row in rows] == ["a", "b", "c"]
    assert rows[0]["difference"] is rows[0]["p_value"] is None
    pairs = [run_json("compare", files[0], other, "--direction", "t2v")["results"][0] for other in files[1:]]
    assert [row["p_value"] for row in rows[1:]] == [pair["p_value"] for pair in pairs]
    assert [row["mean"] for row in rows[1:]] == [pair["mean_b"] for pair in pairs]
    assert rows[2]["p_holm"] == pytest.approx(min(1, 2 * rows[2]["p_value"]))
    assert rows[1]["p_holm"] >= rows[1]["p_value"]


def test_the_interval_is_that_of_eval(tmp_path: Path) -> None:
    np.save(tmp_path / "m.npy", np.random.default_rng(0).random((SIZE, SIZE)).astype(np.float32))
    ranks = str(tmp_path / "r.json")
    row = run_json("eval", "--similarities", str(tmp_path / "m.npy"), "--save-ranks", ranks)["results"][0]
    other = run_json("compare", ranks, ranks, ranks)["results"][0]
    assert [round(end, 3) for end in other["ci95"]] == row["R@1_ci95"]


def test_seeds_count_as_one_by_their_mean(tmp_path: Path) -> None:
    base = save(tmp_path / "base.json", noise=0.4)
    seeds = [
        save(tmp_path / f"b-{seed}.json", noise=0.6, seed=seed, system={"seed": seed}) for seed in (1, 2, 3)
    ]
    contenders = read_contenders([base, ",".join(seeds)])
    first, group = standings(contenders, direction="t2v", method="none", metric="R@1")
    means = [
        standings(read_contenders([base, seed]), direction="t2v", method="none", metric="R@1")[1].mean
        for seed in seeds
    ]
    assert (group.name, group.num_seeds) == ("b (3 seeds)", 3)
    assert group.mean == pytest.approx(np.mean(means))
    assert group.deviation == pytest.approx(np.std(means, ddof=1))
    assert group.difference == pytest.approx(group.mean - first.mean)
    assert [text for text in remarks(contenders) if "seed" in text] == []


def test_what_differs_is_said_before_the_numbers(tmp_path: Path) -> None:
    system = {"frames": {"mode": "uniform", "num_frames": 12}, "backbone": "ViT-B/32", "seed": 1}
    a = save(tmp_path / "a.json", noise=0.5, system=system)
    b = save(tmp_path / "b.json", noise=0.6, system={**system, "backbone": "ViT-B/16"})
    c = save(tmp_path / "c.json", noise=0.6, dataset="other", system=system)
    said = [line for line in run("compare", a, b, c).stderr.splitlines() if line.startswith("note: ")]
    assert said == [
        "note: a and c answer other questions: data set: made / other",
        "note: a / b differ in backbone: ViT-B/32 / ViT-B/16",
    ]
    joined = run("compare", a, f"{b},{c}").stderr
    assert "b.json" not in joined
    assert "differ in more than their seed: data set: made / other" in joined
    assert run_json("compare", a, b)["remarks"] == ["a / b differ in backbone: ViT-B/32 / ViT-B/16"]


def test_files_of_an_older_vtr_can_be_compared_and_that_is_said(tmp_path: Path) -> None:
    files = [save(tmp_path / f"{name}.json", noise=0.5) for name in "ab"]
    body = json.loads(Path(files[1]).read_text())
    del body["protocol"]
    Path(files[1]).write_text(json.dumps(body))
    note = "note: no protocol in b.json, written by an older vtr: what else differs is not known"
    assert note in run("compare", *files).stderr


def test_cut_runs_that_name_other_videos_are_compared(tmp_path: Path) -> None:
    """The queries are the same, whatever the lists hold beside the right videos."""
    qrels, rng = write_qrels(tmp_path / "qrels", diagonal(30)), np.random.default_rng(0)
    files = []
    for name, top, width in (("a", 10, 30), ("b", 12, 40)):
        matrix = (rng.random((30, width)) + np.eye(30, width)).astype(np.float32)
        path = write_trec(tmp_path / f"{name}.trec", run_of(matrix, top=top))
        files.append(str(tmp_path / f"{name}.json"))
        run_json("eval", "--trec", str(path), "--qrels", str(qrels), "--save-ranks", files[-1])
    result = run("compare", *files)
    assert result.exit_code == 0
    assert "a and b answer other questions: videos: 30 / 40" in result.stderr
    assert "a and b answer other questions: what is listed: the best 10 / the best 12" in result.stderr
    assert "v2t" not in result.stdout


@pytest.mark.slow
def test_the_table_fits_eighty_columns(tmp_path: Path) -> None:
    seeds = ",".join(save(tmp_path / f"camoe-dsl-{seed}.json", noise=0.6, seed=seed) for seed in (1, 2))
    files = [save(tmp_path / "clip4clip.json", noise=0.5), seeds, save(tmp_path / "xpool.json", noise=0.9)]
    exit_code, text = run_on_terminal("compare", *files, "--quiet")
    lines = re.sub(r"\x1b\[[0-9;]*m", "", text).splitlines()
    assert exit_code == 0
    assert max(map(len, lines)) <= 80
    assert lines[0].split() == ["run", "R@1", "-", "first", "95", "%", "p", "(Holm)"]
    assert lines[-1] == "not shown, for want of room: 95 %, p"


def test_the_same_name_in_several_folders_is_told_apart(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).mkdir()
    files = [save(tmp_path / name / "ranks.json", noise=0.5) for name in "ab"]
    assert [one.name for one in read_contenders(files)] == [str(tmp_path / name / "ranks") for name in "ab"]


@pytest.mark.parametrize(
    ("arguments", "exit_code", "message"),
    [
        (
            ("a.json",),
            2,
            "1 file of ranks; two or more are compared; write vtr compare A.json B.json; a comma joins",
        ),
        (
            ("a.json", "b.json", "a.json", "--metric", "nDCG"),
            2,
            "the metric 'nDCG'; R@1, R@5, R@10, R@50, MnR or MRR: ",
        ),
        (
            ("a.json", "b.json", "--metric", "MRR"),
            2,
            "--metric MRR with two files; two are compared by all metrics; ",
        ),
        (
            ("a.json", "b.json", "a.json", "--method-b", "dsl"),
            2,
            "--method-b with more than two files; it chooses the row",
        ),
        (("a.json", "no.json"), 3, "no.json cannot be compared: it is not there; "),
        (("a.json", "matrix.npy"), 3, "matrix.npy cannot be compared: it is no JSON; a file of ranks; "),
        (
            ("a.json", "b.json", "a.json", "--method", "dsl"),
            3,
            "a.json has no ranks of t2v dsl; it has t2v none, v2t none",
        ),
    ],
)
def test_wrong_usage_is_one_clear_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], exit_code: int, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in "ab":
        save(Path(f"{name}.json"), noise=0.5)
    np.save("matrix.npy", np.eye(2))
    result = run("compare", *arguments)
    assert (result.exit_code, result.stdout) == (exit_code, ""), result.output
    assert result.stderr.splitlines()[-1].startswith(f"vtr: {message}")


_HUGE = (
    '{"format": "vtr-ranks", "version": 1, "ties": "average", "rows": [{"num_tied": [0], "ranks": [1'
    + "0" * 400
    + "]}]}"
)


@pytest.mark.parametrize("body", ["[" * 100_000, _HUGE], ids=["deep", "huge"])
def test_whatever_is_damaged_is_an_error_of_its_own(tmp_path: Path, body: str) -> None:
    (tmp_path / "a.json").write_text(body)
    with pytest.raises(InputError, match="cannot be compared"):
        read_ranks(tmp_path / "a.json")


@given(st.lists(st.floats(0, 1), min_size=1, max_size=6))
def test_holm_is_the_step_down_rule(p_values: list[float]) -> None:
    """Adjusted values are below a level exactly where the rule rejects at that level, step by step."""
    adjusted = holm(p_values)
    for level in (0.01, 0.05, 0.3):
        rejected, order = set(), sorted(range(len(p_values)), key=lambda number: p_values[number])
        for step, number in enumerate(order):
            if p_values[number] * (len(p_values) - step) > level:
                break
            rejected.add(number)
        assert {number for number, value in enumerate(adjusted) if value <= level} == rejected


def test_a_protocol_differs_where_both_know(tmp_path: Path) -> None:
    one = {"frames": {"mode": "uniform", "num_frames": 12}, "seed": 1, "tagger": None}
    other = {"frames": {"mode": "rate", "fps": 0.5, "max_frames": None}, "seed": 2, "tagger": "hanta"}
    assert differences(one, other, SYSTEM) == [
        "frames: mode uniform, num_frames 12 / mode rate, fps 0.5",
        "seed: 1 / 2",
    ]
    assert differences(one, other, QUESTION) == []


def test_a_fingerprint_changes_with_what_the_numbers_rest_on() -> None:
    def fingerprint(**about: object) -> str:
        matrix = DenseScores(np.eye(3, dtype=np.float32))
        inputs = EvaluationInputs(matrix, Truth.diagonal((3, 3)), **{"model": "m", **about})  # type: ignore[arg-type]
        return str(evaluate_inputs(inputs, EvaluationSettings(num_bootstrap=0)).protocol()["fingerprint"])

    same = {fingerprint(), fingerprint(model="elsewhere/m")}
    other = {fingerprint(dataset="d"), fingerprint(system={"frames": {"fps": 1}}), fingerprint(max_tokens=32)}
    assert len(same) == 1 and len(other) == 3 and not same & other
