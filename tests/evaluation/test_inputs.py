"""A split through a store and a run: the numbers of the training's validation, and every way that it does not fit."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.store.stores import SHA256, make_store
from tests.training.toy import make_toy
from vtrcli.errors import InputError, StoreError, UsageError
from vtrcli.evaluation.evaluate import EvaluationInputs, EvaluationSettings, evaluate_inputs
from vtrcli.evaluation.inputs import _limit_note, from_matrix, from_store, save_matrix
from vtrcli.model.train_settings import TrainSettings
from vtrcli.ranking.scores import DenseScores
from vtrcli.ranking.truth import Truth
from vtrcli.store.texts import TextRows, write_texts
from vtrcli.text.cache import reading_id
from vtrcli.text.streams import STREAMS, load_tagger
from vtrcli.training.train import train

SETTINGS = TrainSettings(epochs=2, batch_size=8, learning_rate=3e-3, num_frames=4, captions="all", seed=1)


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = make_toy(tmp_path_factory.mktemp("toy"))
    train(
        store=folder / "store", dataset="csv", annotations=folder, out=folder / "run", settings=SETTINGS,
        device="cpu",
    )  # fmt: skip
    return folder


def open_split(toy: Path, *, run: Path | None, split: str = "test", **options: object) -> EvaluationInputs:
    return from_store(
        toy / "store",
        run=run,
        dataset="csv",
        annotations=toy,
        split=split,
        device="cpu",
        **options,  # type: ignore[arg-type]
    )


def test_the_validation_split_gives_the_numbers_that_training_reported(toy: Path) -> None:
    import json

    rows = [json.loads(line) for line in (toy / "run" / "metrics.jsonl").read_text().splitlines()]
    best = max(rows, key=lambda row: row["val"]["t2v"]["R@1"] + row["val"]["v2t"]["R@1"])
    result = evaluate_inputs(
        open_split(toy, run=toy / "run", split="val"), EvaluationSettings(num_bootstrap=0)
    )
    assert result.evaluations[0].t2v.to_json() == best["val"]["t2v"]


def test_zero_shot_is_the_cosine_of_the_mean_frame_with_the_whole_caption(toy: Path) -> None:
    inputs = open_split(toy, run=None)
    assert inputs.store is not None
    frames = inputs.store.features(inputs.video_ids[3]).astype(np.float64)
    mean = (frames / np.linalg.norm(frames, axis=1, keepdims=True)).mean(axis=0)
    text = inputs.source.block(slice(0, 24), slice(3, 4))
    assert np.abs(text).max() <= 1 + 1e-6
    assert inputs.logit_scale == 100.0
    assert (inputs.source.shape, np.linalg.norm(mean) > 0) == ((24, 12), True)


def test_plain_comes_first_and_each_method_once_per_bank(toy: Path) -> None:
    inputs = open_split(toy, run=toy / "run", use_train_bank=True)
    result = evaluate_inputs(
        inputs, EvaluationSettings(methods=("dsl", "none", "dsl", "csls"), num_bootstrap=0)
    )
    assert [(row.method, row.transductive) for row in result.evaluations] == [
        ("none", False),
        ("dsl", True),
        ("dsl", False),
        ("csls", True),
        ("csls", False),
    ]


def test_a_correction_that_ends_below_plain_is_said() -> None:
    scores = DenseScores(np.random.default_rng(4).random((6, 6)).astype(np.float32))
    inputs = EvaluationInputs(scores, Truth.diagonal((6, 6)), model="random")
    options = EvaluationSettings(methods=("dsl",), num_bootstrap=0)
    assert evaluate_inputs(inputs, options).notes[-1] == (
        "v2t: dsl ends below plain: R@1 33.3 instead of 50.0"
    )


def test_a_run_of_another_backbone_does_not_fit_the_store(toy: Path, tmp_path: Path) -> None:
    import json

    config = json.loads((toy / "run" / "config.json").read_text())
    config["backbone"]["sha256"] = "cd" * 32
    other = tmp_path / "run"
    other.mkdir()
    (other / "config.json").write_text(json.dumps(config))
    (other / "model.safetensors").write_bytes((toy / "run" / "model.safetensors").read_bytes())
    with pytest.raises(StoreError) as caught:
        open_split(toy, run=other)
    assert str(caught.value).startswith(
        f"run {other} was trained on features of tiny (weights cdcdcdcdcdcd), store {toy / 'store'} holds tiny "
        "(weights abababababab); run and store of the same backbone; "
    )


def test_missing_videos_are_refused_unless_allowed_and_then_said(toy: Path, tmp_path: Path) -> None:
    text = (toy / "captions.csv").read_text() + "absent,caption 0 of video 4,test\n"
    (tmp_path / "captions.csv").write_text(text)
    arguments = {"run": None, "dataset": "csv", "annotations": tmp_path, "split": "test", "device": "cpu"}
    with pytest.raises(InputError, match="1 of 13 videos"):
        from_store(toy / "store", **arguments)  # type: ignore[arg-type]
    inputs = from_store(toy / "store", allow_missing=True, **arguments)  # type: ignore[arg-type]
    assert inputs.notes == (
        "1 videos and 1 captions of the split are not in the store and were left out: the numbers cannot be "
        "compared with published ones",
    )


def test_texts_are_read_as_far_as_asked_then_as_trained_then_as_published(toy: Path, tmp_path: Path) -> None:
    import json
    import shutil

    shutil.copytree(toy, tmp_path / "toy")
    copy = tmp_path / "toy"
    texts = [row.split(",")[1] for row in (copy / "captions.csv").read_text().splitlines()[1:]]
    for limit in (5, 9):  # the demo of a cache: features that tell the limit
        rows = TextRows(np.full((len(texts), 3, 16), limit, np.float16), np.ones((len(texts), 3), bool))
        write_texts(
            copy / "store", texts, rows, streams=STREAMS,
            tagger_id=reading_id(load_tagger().id, limit), backbone_sha256=SHA256,
        )  # fmt: skip
    assert open_split(copy, run=copy / "run").max_tokens is None
    assert open_split(copy, run=None, max_tokens=5).max_tokens == 5
    config = json.loads((copy / "run" / "config.json").read_text())
    config["settings"]["max_tokens"] = 9
    (copy / "run" / "config.json").write_text(json.dumps(config))
    assert open_split(copy, run=copy / "run").max_tokens == 9
    assert open_split(copy, run=copy / "run", max_tokens=5).max_tokens == 5
    equal = open_split(copy, run=None, max_tokens=9).source.block(slice(0, 24), slice(0, 12))
    assert np.ptp(equal, axis=0).max() == 0  # all texts are the constant ones of that limit


def test_texts_read_otherwise_than_published_are_said(toy: Path) -> None:
    assert _limit_note(32, 32, "msvd") == _limit_note(5, None, "csv") == ()
    assert _limit_note(77, 32, "msvd") == (
        "texts are read up to 77 tokens, published numbers of msvd up to 32: they are not to be compared",
    )


def test_an_unknown_split_or_an_empty_store_is_one_clear_line(toy: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="has no split 'dev'"):
        open_split(toy, run=None, split="dev")
    make_store(tmp_path / "store", {"other": np.ones((1, 16))}, dim=16)
    with pytest.raises(InputError, match="are not in the store"):
        from_store(tmp_path / "store", run=None, dataset="csv", annotations=toy, split="test", device="cpu")


def test_a_matrix_can_be_saved_over_itself(tmp_path: Path) -> None:
    scores = np.random.default_rng(0).random((5, 5)).astype(np.float32)
    np.save(tmp_path / "m.npy", scores)
    inputs = from_matrix(tmp_path / "m.npy", text_to_video=None, bank=None)
    save_matrix(inputs, tmp_path / "m.npy")
    assert np.load(tmp_path / "m.npy").tolist() == scores.tolist()


def test_a_saved_matrix_is_the_matrix(toy: Path, tmp_path: Path) -> None:
    inputs = open_split(toy, run=None)
    save_matrix(inputs, tmp_path / "scores.npy")
    (tmp_path / "map.txt").write_text("\n".join(map(str, inputs.truth.video_index.tolist())) + "\n")
    again = from_matrix(tmp_path / "scores.npy", text_to_video=tmp_path / "map.txt", bank=None)
    options = EvaluationSettings(methods=("dsl",), num_bootstrap=0)
    one, other = (evaluate_inputs(each, options) for each in (inputs, again))
    assert [row.t2v.to_json() for row in one.evaluations] == [row.t2v.to_json() for row in other.evaluations]


def test_a_saved_matrix_is_read_back_without_options(toy: Path, tmp_path: Path) -> None:
    inputs = open_split(toy, run=toy / "run")
    save_matrix(inputs, tmp_path / "scores.npy")
    again = from_matrix(tmp_path / "scores.npy", text_to_video=None, bank=None)
    kept = ("dataset", "split", "max_tokens", "texts", "caption_ids", "video_ids", "logit_scale")
    assert {name: getattr(again, name) for name in kept} == {name: getattr(inputs, name) for name in kept}
    options = EvaluationSettings(methods=("dsl",))
    one, other = (evaluate_inputs(each, options) for each in (inputs, again))
    assert [row.to_json() for row in one.evaluations] == [row.to_json() for row in other.evaluations]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            lambda folder: np.save(folder / "m.npy", np.eye(3, dtype=np.float32)),
            "it was written with another",
        ),
        (
            lambda folder: np.save(folder / "m.npy", np.eye(4, dtype=np.float32)),
            "it was written with another",
        ),
        (lambda folder: (folder / "m.npy.json").write_text('{"format": "vtr-similarities"}'), "'shape'"),
        (lambda folder: (folder / "m.npy.json").write_text("{"), "Expecting property name"),
    ],
)
def test_what_stands_beside_a_matrix_must_belong_to_it(tmp_path: Path, spoil: object, message: str) -> None:
    np.save(tmp_path / "m.npy", np.random.default_rng(0).random((4, 4)).astype(np.float32))
    save_matrix(from_matrix(tmp_path / "m.npy", text_to_video=None, bank=None), tmp_path / "m.npy")
    spoil(tmp_path)  # type: ignore[operator]
    with pytest.raises(InputError) as caught:
        from_matrix(tmp_path / "m.npy", text_to_video=None, bank=None)
    assert str(caught.value).startswith(f"{tmp_path / 'm.npy.json'} cannot be used: {message}")
    assert str(caught.value).endswith(
        "; what `vtr eval --save-similarities` wrote beside m.npy; save the matrix again, or delete that file and "
        "give --text-to-video"
    )
    (tmp_path / "m.npy.json").write_text('{"format": "of somebody else"}')
    assert from_matrix(tmp_path / "m.npy", text_to_video=None, bank=None).texts == ()


def test_a_result_and_its_parts_show_counts_and_no_arrays() -> None:
    result = evaluate_inputs(from_matrix(np.eye(500, dtype="f4")), EvaluationSettings(num_bootstrap=0))
    evaluation = result.evaluations[0]
    for shown in (repr(result), repr(evaluation), repr(evaluation.t2v), repr(result.inputs.truth)):
        assert "array" not in shown and "500" in shown and len(shown) < 1200
    assert "ranks" not in repr(evaluation)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": 0.0}, "a temperature of 0; a temperature is a number above 0"),
        ({"sweep_temperatures": (1.0, -1.0)}, "a temperature of -1; a temperature is a number above 0"),
        ({"alpha": math.inf}, "alpha inf; alpha is a finite number"),
        ({"methods": ("dsl", "softmax")}, "method 'softmax'; known are none, dsl, "),
    ],
)
def test_numbers_that_cannot_be_are_refused_before_anything_is_encoded(
    options: dict[str, Any], message: str
) -> None:
    """Also where no correction asks for them."""
    with pytest.raises(UsageError, match=f"^{message}"):
        EvaluationSettings(**options)


def test_a_matrix_needs_nothing_of_data_sets_captions_and_models() -> None:
    code = (
        "import sys, numpy as np, vtrcli as vtr; vtr.evaluate(np.eye(4, dtype='f4'), dsl=True); "
        "rooms = ('datasets', 'training', 'video', 'searching', 'text.cache', 'model.runs', 'model.families'); "
        "heavy = ('torch.', *('vtrcli.' + room for room in rooms)); "
        "print([name for name in sys.modules if name.startswith(heavy)])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_it_is_told_where_the_logit_scale_is_from(toy: Path, tmp_path: Path) -> None:
    """A store and a run bring their own; of a bare matrix it is taken from the scores, and an option goes first."""
    cosines = from_matrix(np.random.default_rng(0).normal(0.2, 0.03, (9, 9)))
    spread = from_matrix(1000 * np.random.default_rng(0).standard_normal((9, 9)))
    logits = from_matrix(20 + 3 * np.random.default_rng(0).standard_normal((9, 9)))
    for inputs, told in (
        (open_split(toy, run=None), "model"),
        (open_split(toy, run=toy / "run"), "model"),
        (cosines, "cosines"),
        (logits, "logits"),
        (spread, "spread"),
    ):
        for scale, by in ((None, told), (12.5, "option")):
            body = evaluate_inputs(inputs, EvaluationSettings(logit_scale=scale, num_bootstrap=0)).to_json()
            assert body["logit_scale_from"] == by and (scale is None or body["logit_scale"] == scale)


def test_a_sigmoid_model_brings_its_bias_and_a_word_about_dsl(toy: Path, tmp_path: Path) -> None:
    store = Path(shutil.copytree(toy / "store", tmp_path / "store"))
    body = json.loads((store / "store.json").read_text())
    body["backbone"] |= {"logit_scale": 112.7, "logit_bias": -12.5}
    (store / "store.json").write_text(json.dumps(body))
    inputs = from_store(store, run=None, dataset="csv", annotations=toy, split="test", device="cpu")
    told = evaluate_inputs(inputs, EvaluationSettings(methods=("dsl",), num_bootstrap=0)).to_json()
    assert (told["logit_scale"], told["logit_bias"]) == (112.7, -12.5)
    assert (told["num_cut"], told["num_unread_script"], told["unread_scripts"]) == (None, 0, [])
    assert any(note.startswith("dsl multiplies by the logit, and this model") for note in told["notes"])
