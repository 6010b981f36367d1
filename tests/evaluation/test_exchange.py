"""What is written is read back bit for bit, and by others, whose numbers are ours to 1e-12 where no scores tie."""

from __future__ import annotations

import gzip
import importlib.util
import json
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vtrcli as vtr
from tests.cli.runner import run, run_json
from vtrcli.evaluation.exchange import MTEB_METRICS, write_mteb, write_qrels, write_run

NAMES = ("nDCG@10", "nDCG", "AP", "AP@5", "RR", "P@5", "Recall@5", "Success@5")
NO_INTEROP = 'pip install "vtrcli[interop]": nothing is compared with other evaluators'


@pytest.fixture(autouse=True)
def _their_warnings() -> Iterator[None]:
    """Warnings of other packages, at their import and at work, are not ours."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@pytest.fixture
def matrix() -> np.ndarray:
    """40 texts of 25 videos, no two scores of a text equal."""
    rng = np.random.default_rng(3)
    return (rng.permuted(np.tile(np.arange(1000), (40, 1)), axis=1)[:, :25] / 999).astype(np.float32)


@pytest.fixture
def pairs() -> np.ndarray:
    """One to three right videos for each text."""
    rng = np.random.default_rng(4)
    videos = np.column_stack([np.arange(40) % 25, rng.integers(0, 25, (40, 2))])
    return np.unique([(text, video) for text, row in enumerate(videos.tolist()) for video in row], axis=0)


def written(
    matrix: np.ndarray, pairs: np.ndarray, folder: Path, *, form: str, **how: Any
) -> tuple[Path, Path]:
    result = vtr.evaluate(matrix, text_to_video=pairs, num_bootstrap=0)
    run_path, qrels = folder / f"run.{form}", folder / f"qrels.{form}"
    write_run(result.inputs, run_path, **how)
    write_qrels(result.inputs, qrels)
    return run_path, qrels


@pytest.mark.parametrize("form", ["trec", "trec.gz", "json", "json.gz"])
def test_a_run_comes_back_as_the_matrix(
    matrix: np.ndarray, pairs: np.ndarray, tmp_path: Path, form: str
) -> None:
    matrix[0, :5] = -np.inf  # padding is not listed
    pairs = pairs[~((pairs[:, 0] == 0) & (pairs[:, 1] < 5))]
    pairs = np.concatenate([[[0, 7]], pairs])
    path, qrels = written(matrix, pairs, tmp_path, form=form)
    found = vtr.evaluate(trec=path, qrels=qrels, num_bootstrap=0, metrics=NAMES)
    expected = vtr.evaluate(matrix, text_to_video=pairs, num_bootstrap=0, metrics=NAMES)
    row, other = found.table()[0], expected.table()[0]
    assert row.pop("num_unlisted") == 0
    assert row == other


def test_a_float64_comes_back_to_the_bit(tmp_path: Path) -> None:
    scores = np.random.default_rng(0).standard_normal((6, 6)) * 1e-7
    path, qrels = written(scores, np.column_stack([np.arange(6)] * 2), tmp_path, form="trec")
    found = vtr.evaluate(trec=path, qrels=qrels).inputs
    order = [found.video_ids.index(f"v{number}") for number in range(6)]
    assert np.array_equal(found.source.block(slice(0, 6), np.array(order)), scores)


def test_the_run_may_be_cut(matrix: np.ndarray, pairs: np.ndarray, tmp_path: Path) -> None:
    path, qrels = written(matrix, pairs, tmp_path, form="trec", top=5)
    lines = path.read_text().splitlines()
    assert len(lines) == 200
    assert lines[0].split()[:4] == ["q0", "Q0", f"v{matrix[0].argmax()}", "1"]
    found = vtr.evaluate(trec=path, qrels=qrels, metrics=["Success@5"])
    assert found.table()[0]["R@5"] == vtr.evaluate(matrix, text_to_video=pairs).table()[0]["R@5"]


def test_beir_qrels_have_their_header(matrix: np.ndarray, pairs: np.ndarray, tmp_path: Path) -> None:
    result = vtr.evaluate(matrix, text_to_video=pairs)
    write_qrels(result.inputs, tmp_path / "qrels.tsv")
    assert (tmp_path / "qrels.tsv").read_text().startswith("query-id\tcorpus-id\tscore\nq0\tv0\t1\n")


def ours(path: Path, qrels: Path) -> dict[str, float]:
    """Unrounded."""
    return dict(vtr.evaluate(trec=path, qrels=qrels, num_bootstrap=0, metrics=NAMES).evaluations[0].t2v.more)


@pytest.mark.slow
@pytest.mark.parametrize("top", [None, 8])
def test_ir_measures_reads_what_is_written_and_agrees(
    matrix: np.ndarray, pairs: np.ndarray, tmp_path: Path, top: int | None
) -> None:
    ir_measures = pytest.importorskip("ir_measures", reason=NO_INTEROP)
    path, qrels = written(matrix, pairs, tmp_path, form="trec", top=top)
    theirs = {"Recall@5": "R@5"}
    measures = {name: ir_measures.parse_measure(theirs.get(name, name)) for name in NAMES}
    found = ir_measures.calc_aggregate(
        measures.values(), ir_measures.read_trec_qrels(str(qrels)), ir_measures.read_trec_run(str(path))
    )
    assert {name: found[one] for name, one in measures.items()} == pytest.approx(ours(path, qrels), abs=1e-12)


RANX = """
import json, os, sys
os.environ["NUMBA_DISABLE_JIT"] = "1"  # compiling takes a minute, and the numbers are the same
import ranx
qrels, run = ranx.Qrels.from_file(sys.argv[1]), ranx.Run.from_file(sys.argv[2])
run.save(sys.argv[3])
found = ranx.evaluate(qrels, run, sys.argv[4:], threads=1)
print(json.dumps({name: float(value) for name, value in found.items()}))
"""


@pytest.mark.slow
@pytest.mark.parametrize("form", ["json", "trec"])
def test_ranx_reads_what_is_written_and_agrees(
    matrix: np.ndarray, pairs: np.ndarray, tmp_path: Path, form: str
) -> None:
    if importlib.util.find_spec("ranx") is None:
        pytest.skip(NO_INTEROP)
    path, qrels = written(matrix, pairs, tmp_path, form=form)
    theirs = {
        "nDCG@10": "ndcg@10", "nDCG": "ndcg", "AP": "map", "RR": "mrr", "P@5": "precision@5", "Recall@5": "recall@5",
        "Success@5": "hit_rate@5",
    }  # fmt: skip
    parquet = tmp_path / "run.parquet"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", RANX, *map(str, (qrels, path, parquet)), *theirs.values()],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    expected = ours(path, qrels)
    by_name = {other: expected[name] for name, other in theirs.items()}
    assert json.loads(done.stdout) == pytest.approx(by_name, abs=1e-12)
    assert ours(parquet, qrels) == expected  # as ranx saves it


@pytest.mark.slow
def test_mteb_reads_its_task_result_and_agrees(matrix: np.ndarray, pairs: np.ndarray, tmp_path: Path) -> None:
    pytest.importorskip("mteb", reason=NO_INTEROP)
    from mteb._evaluators.retrieval_metrics import calculate_retrieval_scores, make_score_dict
    from mteb.results import TaskResult

    path, qrels = written(matrix, pairs, tmp_path, form="json")
    found = calculate_retrieval_scores(
        json.loads(path.read_text()), json.loads(qrels.read_text()), [1, 3, 5, 10, 20, 100, 1000]
    )
    theirs = make_score_dict(
        ndcg=found.ndcg, _map=found.map, recall=found.recall, precision=found.precision, naucs=found.naucs,
        mrr=found.mrr, naucs_mrr=found.naucs_mrr, hit_rate=found.hit_rate, task_scores={},
    )  # fmt: skip
    result = vtr.evaluate(matrix, text_to_video=pairs, metrics=MTEB_METRICS, v2t_over="captions")
    (t2v, v2t) = write_mteb(result, tmp_path / "mteb")
    read = TaskResult.from_disk(t2v)
    (scores,) = read.scores["test"]
    shared = {name: scores[name] for name in scores if name in theirs}
    assert len(shared) == 42
    assert shared == pytest.approx(
        {name: theirs[name] for name in shared}, abs=6e-6
    )  # theirs have five places
    per_query = {
        name: [row[f"{name}"] for row in found.all_scores.values()] for name in ("ndcg_cut_10", "map_cut_5")
    }
    assert np.mean(per_query["ndcg_cut_10"]) == pytest.approx(scores["ndcg_at_10"], abs=1e-12)
    assert np.mean(per_query["map_cut_5"]) == pytest.approx(scores["map_at_5"], abs=1e-12)
    assert theirs["mrr_at_10"] == pytest.approx(scores["mrr_at_10"], abs=1e-12)
    assert read.get_score() == scores["main_score"] == scores["ndcg_at_10"]
    assert read.dataset_revision == result.protocol()["fingerprint"]
    assert TaskResult.from_disk(v2t).task_name.endswith("-v2t")


def test_the_command_writes_all_of_them(
    matrix: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    np.save("m.npy", matrix[:25])
    files = ("--save-run", "run.json", "--save-qrels", "q.tsv", "--save-mteb", "mteb", "--top", "9")
    body = run_json("eval", "--similarities", "m.npy", *files, "--metrics", "ndcg@10,MAP")
    assert body["results"][0].keys() >= {"nDCG@10", "AP"}
    assert {len(items) for items in json.loads(Path("run.json").read_text()).values()} == {9}
    assert sorted(path.name for path in Path("mteb").iterdir()) == ["vtr-m-t2v.json", "vtr-m-v2t.json"]
    shown = run("eval", "--trec", "run.json", "--qrels", "q.tsv", "--metrics", "ndcg@10,MAP").stdout
    assert "nDCG@10      AP" in shown


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("--save-run", "run.xls"),
            "--save-run run.xls; a file that ends in .trec, .txt, .run, .json, and if wanted .gz",
        ),
        (
            ("--save-qrels", "q.npy"),
            "--save-qrels q.npy; a file that ends in .trec, .txt, .qrels, .tsv, .json, and if",
        ),
        (("--table", "t.html"), "--table t.html; a file that ends in .tex, .md, .csv, and if wanted .gz"),
        (("--top", "5"), "--top without --save-run; it cuts the run that is written; add --save-run FILE"),
        (
            ("--metrics", "nDCG@10,R@5"),
            "the metric 'R@5'; nDCG, AP, RR with or without @k; P@k, Recall@k, Success@k; R@k",
        ),
        (("--save-run", "no/run.trec"), "no/run.trec cannot be written; "),
    ],
)
def test_wrong_usage_is_one_clear_line(tmp_path: Path, arguments: tuple[str, ...], message: str) -> None:
    np.save(tmp_path / "m.npy", np.eye(3, dtype=np.float32))
    result = run("eval", "--similarities", str(tmp_path / "m.npy"), *arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith(f"vtr: {message}")


def test_an_id_with_a_blank_goes_into_json_alone(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(json.dumps({"a text": {"a video": 1.0, "b": 0.5}}))
    (tmp_path / "qrels.json").write_text(json.dumps({"a text": {"a video": 1}}))
    inputs = vtr.evaluate(trec=tmp_path / "run.json", qrels=tmp_path / "qrels.json").inputs
    with pytest.raises(vtr.VtrError) as caught:
        write_run(inputs, tmp_path / "out.trec")
    assert str(caught.value) == (
        f"{tmp_path / 'out.trec'}: the id 'a text' holds a blank; blanks separate the columns of TREC's files; write "
        f"{tmp_path / 'out.json'}, which holds any id"
    )
    assert not (tmp_path / "out.trec").exists()
    write_run(inputs, tmp_path / "out.json.gz")
    assert json.loads(gzip.decompress((tmp_path / "out.json.gz").read_bytes())) == {
        "a text": {"a video": 1.0, "b": 0.5}
    }
