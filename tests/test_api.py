"""`import vtrcli as vtr`: plain arguments, the defaults of the commands, results that show counts and not arrays."""

from __future__ import annotations

import dataclasses
import inspect
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import vtrcli as vtr
from tests.cli.runner import run_json
from vtrcli.cli import eval as eval_command
from vtrcli.cli import search as search_command
from vtrcli.cli import train as train_command
from vtrcli.errors import UsageError
from vtrcli.evaluation.evaluate import EvaluationSettings
from vtrcli.model.train_settings import TrainSettings
from vtrcli.moments.metrics import REFERENCE
from vtrcli.searching.query import POOLING, SearchSettings

PROJECT = Path(__file__).parents[1]
FENCE = re.compile(r"^```python\n(.*?)^```", flags=re.S | re.M)


@pytest.fixture(scope="module")
def folder(demo: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that sees the demo's files; what is written there harms nobody."""
    folder = tmp_path_factory.mktemp("python")
    for name in ("videos", "store", "captions.csv"):
        (folder / name).symlink_to(demo / name)
    return folder


def test_the_page_runs_as_it_stands(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All fences of docs/python.md, one after the other in one session, as a notebook would run them."""
    page = (PROJECT / "docs/python.md").read_text(encoding="utf-8")
    monkeypatch.chdir(folder)
    session: dict[str, object] = {}
    for body in FENCE.findall(page):
        exec(compile(body, "docs/python.md", "exec"), session)
    assert re.fullmatch(r"<ExtractResult 'clips.store': 24 done, .*>", repr(session["found"]))
    assert repr(session["run"]).startswith("<TrainResult 'runs/a': 3 epochs, ")
    mine = session["mine"]
    assert isinstance(mine, type(session["scores"]))
    assert [row["method"] for row in mine.table()] == ["none", "none", "dsl", "dsl"]  # type: ignore[attr-defined]


def test_the_face_is_there_and_loads_nothing_heavy() -> None:
    code = (
        "import sys, vtrcli as vtr; names = [getattr(vtr, name) for name in "
        "('extract', 'train', 'evaluate', 'search', 'load_run', 'encode_texts')]; "
        "print(all(map(callable, names)), [name for name in ('torch', 'numpy') if name in sys.modules]); "
        "[getattr(vtr, name) for name in vtr.__all__]; print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n") == ["True []", "False", ""]
    assert set(vtr.__all__) <= set(dir(vtr))
    with pytest.raises(AttributeError, match="module 'vtrcli' has no attribute 'serach'"):
        _ = vtr.serach  # type: ignore[attr-defined]


def test_no_room_has_the_name_of_a_function() -> None:
    """Importing a package `vtrcli/search/` would put itself in the place of the function."""
    rooms = {path.stem for path in (PROJECT / "vtrcli").iterdir()}
    assert rooms & set(vtr.__all__) == set()


def test_a_matrix_is_evaluated_from_an_array_as_from_a_file(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    matrix = (rng.random((30, 30)) * 0.3 + 0.2 * np.eye(30)).astype(np.float32)
    np.save(tmp_path / "matrix.npy", matrix)
    array = vtr.evaluate(matrix, dsl=True)
    file = vtr.evaluate(str(tmp_path / "matrix.npy"), dsl=True)
    told = run_json("eval", "--similarities", str(tmp_path / "matrix.npy"), "--dsl")
    assert array.table() == file.table() == told["results"]
    assert file.to_json() == {key: told[key] for key in file.to_json()}
    assert (
        repr(array).count("\n") == 0 and "30 texts x 30 videos" in repr(array) and "array(" not in repr(array)
    )


def test_a_mapping_is_a_list_pairs_or_a_file(tmp_path: Path) -> None:
    scores = np.array([[0.9, 0.1], [0.8, 0.2], [0.1, 0.3]], np.float32)
    (tmp_path / "map.txt").write_text("0\n0\n1\n")
    pairs = np.array([[0, 0], [1, 0], [2, 1]])
    results = [
        vtr.evaluate(scores, text_to_video=given) for given in ([0, 0, 1], pairs, tmp_path / "map.txt")
    ]
    assert [result.table()[0]["R@1"] for result in results] == [100.0, 100.0, 100.0]
    assert results[0].to_json() == results[1].to_json() == results[2].to_json()


def test_an_answer_has_the_keys_of_the_command(demo: Path) -> None:
    found = vtr.search("a red circle", str(demo / "store"), top_k=3, moments=True)
    told = run_json(
        "search", "a red circle", "--store", str(demo / "store"), "-k", "3", "--moments", "--run", "none"
    )
    assert json.loads(json.dumps(found.to_json())) == {key: told[key] for key in found.to_json()}
    assert [row["rank"] for row in found.table()] == [1, 2, 3]
    searcher = vtr.Searcher(str(demo / "store"))
    assert searcher.search("a red circle", SearchSettings(top_k=3, moments=True)).table() == found.table()


def test_what_cannot_be_is_said_before_anything_is_loaded() -> None:
    with pytest.raises(UsageError, match=r"--frames and --keyframes together"):
        vtr.extract("videos", "store", frames=3, keyframes=True)
    with pytest.raises(UsageError, match="nothing to evaluate"):
        vtr.evaluate(dsl=True)
    with pytest.raises(UsageError, match="--score mean with --run runs/a"):
        vtr.search("a red circle", "store", run="runs/a", score="mean")
    with pytest.raises(UsageError, match="--dsl with --method csls"):
        vtr.search("a red circle", "store", dsl=True, method="csls")
    with pytest.raises(UsageError, match="--method sinkhorn in a search"):
        vtr.search("a red circle", "store", method="sinkhorn")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="temprature"):
        vtr.evaluate(np.eye(3, dtype=np.float32), temprature=2.0)


def defaults_of(settings: type) -> dict[str, object]:
    return {
        field.name: field.default
        for field in dataclasses.fields(settings)
        if field.default is not dataclasses.MISSING
    }


def test_the_commands_have_the_defaults_of_the_settings() -> None:
    command = inspect.signature(eval_command.command).parameters
    names = {
        "temperature": "temperature",
        "logit_scale": "logit_scale",
        "k": "k",
        "alpha": "alpha",
        "v2t_over": "v2t_over",
        "bootstrap": "num_bootstrap",
        "seed": "seed",
    }
    known = defaults_of(EvaluationSettings)
    assert {option: command[option].default.default for option in names} == {
        option: known[field] for option, field in names.items()
    }
    assert shown_default(command["ties"]) == f"{known['ties']}; of moments: {REFERENCE.ties}"
    command = inspect.signature(search_command.command).parameters
    known = defaults_of(SearchSettings)
    for name in ("top_k", "moments", "per_video", "method", "min_relevance", "missing"):
        assert command[name].default.default == known[name], name
    assert shown_default(command["score"]) == POOLING


def shown_default(parameter: inspect.Parameter) -> str:
    """What the help of an option shows as its default."""
    assert isinstance(parameter.default.show_default, str), parameter
    return parameter.default.show_default


def test_the_training_command_shows_the_defaults_of_its_settings() -> None:
    command = inspect.signature(train_command.command).parameters
    known = defaults_of(TrainSettings)
    for option in ("steps", "batch_size", "learning_rate", "weight_decay", "warmup_share", "frames", "captions",
                   "aggregator", "gate", "patience", "seed", "precision", "backbone_learning_rate",
                   "freeze_layers"):  # fmt: skip
        shown = re.split("[,;]( |$)", shown_default(command[option]))[0].replace(",", "")
        value = known["num_frames" if option == "frames" else option]
        assert shown == str(value) or float(shown) == value, option


@pytest.mark.slow
def test_the_same_call_trains_as_the_command_does(demo: Path, tmp_path: Path) -> None:
    told = run_json(
        "train", "--store", str(demo / "store"), "--dataset", "csv", "--annotations", str(demo), "--out",
        str(tmp_path / "a"), "--recipe", "demo", "--epochs", "1",
    )  # fmt: skip
    result = vtr.train(
        demo / "store",
        dataset="csv",
        annotations=str(demo),
        out=str(tmp_path / "b"),
        recipe="demo",
        epochs=1,
    )
    assert result.to_json()["val"] == told["val"]
    assert [row["epoch"] for row in result.table()] == [0, 1]
    longer = vtr.train(
        demo / "store", dataset="csv", annotations=demo, out=tmp_path / "b", resume=True, epochs=2
    )
    assert longer.epochs == 2
