"""Training on cached features: it learns, resumes to the bit, stops on request, and says what is wrong."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from tests.training.toy import make_toy
from tests.training.toy_frames import WORDS, make_toy_frames
from vtrcli.errors import InputError, UsageError, WeightsError
from vtrcli.model.runs import load_head, read_config
from vtrcli.model.train_settings import TrainSettings
from vtrcli.searching.run import RunModel
from vtrcli.store.reader import FeatureStore
from vtrcli.text.cache import cache_captions, cache_texts
from vtrcli.training.record import TrainResult, read_metrics
from vtrcli.training.train import train

SETTINGS = TrainSettings(
    epochs=3, batch_size=8, learning_rate=3e-3, num_frames=4, patience=None, captions="all", seed=1
)


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_toy(tmp_path_factory.mktemp("toy"))


def run(toy: Path, out: Path, *, settings: TrainSettings = SETTINGS, **options: Any) -> TrainResult:
    return train(
        store=toy / "store",
        dataset="csv",
        annotations=toy,
        out=out,
        settings=settings,
        device="cpu",
        **options,
    )


def stop_after(num_steps: int) -> Callable[[], bool]:
    steps = iter(range(1, 10_000))
    return lambda: next(steps) >= num_steps


def test_training_beats_the_untrained_model_and_the_run_rebuilds_it(toy: Path, tmp_path: Path) -> None:
    result = run(toy, tmp_path / "run", settings=TrainSettings(**{**vars(SETTINGS), "epochs": 12}))
    rows = read_metrics(tmp_path / "run")
    assert [row["epoch"] for row in rows] == list(range(13))
    assert result.val["t2v"]["R@1"] > rows[0]["val"]["t2v"]["R@1"] + 20
    assert (
        result.best_epoch
        == max(rows, key=lambda row: row["val"]["t2v"]["R@1"] + row["val"]["v2t"]["R@1"])["epoch"]
    )
    camoe, config = load_head(tmp_path / "run")
    assert config.settings.epochs == 12 and config.num_val_videos == 12
    assert camoe.config.dim == 16
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert names == {"config.json", "metrics.jsonl", "model.safetensors", "last.safetensors", "curves.svg"}


@pytest.mark.parametrize(
    "dim", [30, *(pytest.param(dim, marks=pytest.mark.slow) for dim in (512, 768, 1024, 1152))]
)
def test_a_head_is_as_wide_as_the_store(tmp_path: Path, dim: int) -> None:
    """Also where the width is no multiple of CAMoE's 4 heads."""
    toy = make_toy(tmp_path, num_videos=20, dim=dim)
    result = run(toy, tmp_path / "run", settings=TrainSettings(**{**vars(SETTINGS), "epochs": 1}))
    camoe, config = load_head(tmp_path / "run")
    store = FeatureStore(toy / "store")
    ids = ["v000", "v001"]
    assert result.epochs == 1 and camoe.config.dim == dim == config.backbone.dim
    frames = torch.from_numpy(np.stack([store.features(name) for name in ids]))
    vectors = camoe.video_vectors(frames.float(), torch.ones(2, 4, dtype=torch.bool))
    assert vectors.shape == (2, 3 * dim) and bool(vectors.isfinite().all())


@pytest.mark.parametrize(
    "num_steps", [pytest.param(1, marks=pytest.mark.slow), 9, pytest.param(13, marks=pytest.mark.slow)]
)
def test_resuming_equals_never_stopping_to_the_bit(toy: Path, tmp_path: Path, num_steps: int) -> None:
    run(toy, tmp_path / "whole")
    stopped = run(toy, tmp_path / "parts", should_stop=stop_after(num_steps))
    assert stopped.was_interrupted
    resumed = run(toy, tmp_path / "parts", resume=True)
    assert not resumed.was_interrupted
    for name in ("model.safetensors", "last.safetensors"):
        whole, parts = load_file(tmp_path / "whole" / name), load_file(tmp_path / "parts" / name)
        assert whole.keys() == parts.keys()
        for key in whole:
            assert torch.equal(whole[key], parts[key]), (name, key)
    for one, other in zip(read_metrics(tmp_path / "whole"), read_metrics(tmp_path / "parts"), strict=True):
        assert one["val"] == other["val"]
        assert one["loss"] == other["loss"]


def test_a_finished_run_resumes_to_nothing_left_to_do(toy: Path, tmp_path: Path) -> None:
    first = run(toy, tmp_path / "run")
    again = run(toy, tmp_path / "run", resume=True)
    assert (again.epochs, again.best_epoch, again.val) == (first.epochs, first.best_epoch, first.val)


@pytest.mark.slow
def test_an_old_run_is_never_written_over(toy: Path, tmp_path: Path) -> None:
    run(toy, tmp_path / "run")
    with pytest.raises(WeightsError, match="holds a run already; a new folder, or --resume; "):
        run(toy, tmp_path / "run")


@pytest.mark.parametrize(
    ("patience", "warmup_share", "epochs"),
    [(18, 0.0, 2), (19, 0.0, 3), pytest.param(18, 0.5, 7, marks=pytest.mark.slow)],
)
def test_patience_counts_steps_and_waits_for_the_warm_up(
    toy: Path, tmp_path: Path, patience: int, warmup_share: float, epochs: int
) -> None:
    changes = {"learning_rate": 1e-12, "epochs": 9, "patience": patience, "warmup_share": warmup_share}
    result = run(toy, tmp_path / "run", settings=TrainSettings(**{**vars(SETTINGS), **changes}))
    assert (result.epochs, result.steps, result.best_epoch) == (epochs, 9 * epochs, 0)
    again = run(toy, tmp_path / "run", resume=True)
    assert again.epochs == epochs
    prolonged = run(toy, tmp_path / "run", resume=True, epochs=12)
    assert prolonged.epochs == epochs + math.ceil(patience / 9)


@pytest.mark.slow
def test_a_length_in_steps_is_rounded_up_to_epochs_and_validated_some_thirty_times(
    toy: Path, tmp_path: Path
) -> None:
    settings = TrainSettings(
        **{**vars(SETTINGS), "epochs": None, "steps": 63, "captions": "one", "batch_size": 18}
    )
    result = run(toy, tmp_path / "whole", settings=settings)
    assert (result.epochs, result.steps) == (32, 64)
    rows = read_metrics(tmp_path / "whole")
    assert [row["epoch"] for row in rows] == list(range(0, 33, 2))
    assert result.best_step == 2 * result.best_epoch
    run(toy, tmp_path / "parts", settings=settings, should_stop=stop_after(31))
    run(toy, tmp_path / "parts", resume=True)
    assert [row["loss"] for row in rows] == [row["loss"] for row in read_metrics(tmp_path / "parts")]
    for name in ("model.safetensors", "last.safetensors"):
        whole, parts = load_file(tmp_path / "whole" / name), load_file(tmp_path / "parts" / name)
        assert all(torch.equal(whole[key], parts[key]) for key in whole)


@pytest.mark.slow
def test_a_finished_run_can_be_made_longer_and_not_shorter(toy: Path, tmp_path: Path) -> None:
    first = run(toy, tmp_path / "run")
    longer = run(toy, tmp_path / "run", resume=True, epochs=5)
    assert (longer.epochs, longer.steps) == (5, 45)
    rows = read_metrics(tmp_path / "run")
    assert [row["epoch"] for row in rows] == [0, 1, 2, 3, 4, 5]
    assert rows[first.best_epoch]["val"] == first.val
    assert read_config(tmp_path / "run").settings.epochs == 5
    assert run(toy, tmp_path / "run", resume=True, steps=60).steps == 63
    assert run(toy, tmp_path / "run", resume=True).steps == 63
    for length in ({"epochs": 7}, {"steps": 63}):
        with pytest.raises(UsageError) as caught:
            run(toy, tmp_path / "run", resume=True, **length)
        assert str(caught.value) == (
            f"run {tmp_path / 'run'} has trained 7 epochs already, 63 steps; a length above that to go on with; "
            "raise --epochs or --steps, or leave both out"
        )


def test_a_loss_that_is_not_finite_names_the_batch_and_keeps_the_last_good_state(
    toy: Path, tmp_path: Path
) -> None:
    settings = TrainSettings(**{**vars(SETTINGS), "learning_rate": 1e30, "warmup_share": 0.0})
    with pytest.raises(InputError) as caught:
        run(toy, tmp_path / "run", settings=settings)
    assert "of epoch 1 (v" in str(caught.value) and "and 3 more)" in str(caught.value)
    assert caught.value.exit_code == 3
    for name in ("model.safetensors", "last.safetensors"):
        assert all(bool(tensor.isfinite().all()) for tensor in load_file(tmp_path / "run" / name).values())


def test_a_batch_larger_than_the_data_is_one_batch(toy: Path, tmp_path: Path) -> None:
    settings = TrainSettings(**{**vars(SETTINGS), "batch_size": 1000, "epochs": 1})
    assert run(toy, tmp_path / "run", settings=settings).epochs == 1


def test_missing_videos_are_counted_and_refused_unless_allowed(toy: Path, tmp_path: Path) -> None:
    text = (toy / "captions.csv").read_text()
    (tmp_path / "captions.csv").write_text(text + "absent,a new caption,train\n")

    def run_with(**options: Any) -> TrainResult:
        return train(
            store=toy / "store", dataset="csv", annotations=tmp_path, out=tmp_path / "run", settings=SETTINGS,
            device="cpu", **options,
        )  # fmt: skip

    with pytest.raises(InputError, match=r"1 of 37 videos \(1 captions\) are not in the store: .*absent"):
        run_with()
    assert run_with(allow_missing=True).epochs == 3


def test_captions_without_a_training_split_are_refused(toy: Path, tmp_path: Path) -> None:
    (tmp_path / "captions.csv").write_text("video_id,caption,split\nv003,a caption,val\n")
    with pytest.raises(InputError, match="no row belongs to the split train; it has rows of: val; "):
        train(
            store=toy / "store", dataset="csv", annotations=tmp_path, out=tmp_path / "run", settings=SETTINGS,
            device="cpu",
        )  # fmt: skip
    assert not (tmp_path / "run").exists()


def test_a_resumed_run_must_see_the_same_data(toy: Path, tmp_path: Path) -> None:
    run(toy, tmp_path / "run", should_stop=stop_after(3))
    rows = (toy / "captions.csv").read_text().splitlines()
    (tmp_path / "captions.csv").write_text(
        "\n".join(row for row in rows if not row.startswith("v000")) + "\n"
    )
    with pytest.raises(UsageError, match="began with num train videos 36, now it is 35; "):
        train(
            store=toy / "store", dataset="csv", annotations=tmp_path, out=tmp_path / "run", settings=SETTINGS,
            device="cpu", resume=True,
        )  # fmt: skip


@pytest.mark.parametrize(
    "text", ["", "{}", '{"format": "vtr-run", "version": 99}', '{"format": "vtr-run", "version": 1}']
)
def test_a_damaged_or_newer_run_is_one_clear_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(WeightsError) as caught:
        load_head(tmp_path)
    assert caught.value.exit_code == 4


def test_one_seed_gives_one_run_and_another_another(toy: Path, tmp_path: Path) -> None:
    losses = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        run(toy, tmp_path / name, settings=TrainSettings(**{**vars(SETTINGS), "seed": seed}))
        losses.append(json.dumps([row["loss"] for row in read_metrics(tmp_path / name)]))
    assert losses[0] == losses[1] != losses[2]


@pytest.mark.slow
def test_the_model_is_the_same_whether_captions_were_cached_and_with_which_others(tmp_path: Path) -> None:
    folder = make_toy_frames(tmp_path)
    settings = TrainSettings(**{**vars(SETTINGS), "num_frames": 3, "batch_size": 6, "epochs": 1})

    def weights(store: Path) -> bytes:
        run_of = store.with_name(f"run of {store.name}, {len(list(tmp_path.glob('run of*')))}")
        train(store=store, dataset="csv", annotations=folder, out=run_of, settings=settings, device="cpu")
        last = load_file(
            run_of / "last.safetensors"
        )  # its bytes would not do: safetensors orders metadata at random
        steps = [last[name].numpy().tobytes() for name in sorted(last)]
        return b"".join([(run_of / "model.safetensors").read_bytes(), *steps])

    for name in ("split by split", "among others"):
        shutil.copytree(folder / "store", folder / name)
    uncached = weights(folder / "store")
    assert uncached == weights(folder / "store")
    for split in ("val", "train"):
        cache_captions(
            folder / "split by split", dataset="csv", annotations=folder, splits=[split], device="cpu"
        )
    assert uncached == weights(folder / "split by split")
    others = [f"a {word} sleeps near a {other}" for word in WORDS for other in WORDS]
    captions = [f"a {word} is running" for word in WORDS]
    cache_texts(FeatureStore(folder / "among others"), [*others, *captions, *others[::-1]], device="cpu")
    assert uncached == weights(folder / "among others")


def test_a_run_to_go_on_with_that_is_not_there_was_named_by_out(toy: Path, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="^no trained run at .*gone; .*; check --out, or train one$"):
        run(toy, tmp_path / "gone", resume=True)


def test_a_run_on_a_sigmoid_model_starts_at_its_scale_and_is_searched_with_it(
    toy: Path, tmp_path: Path
) -> None:
    store = Path(shutil.copytree(toy / "store", tmp_path / "store"))
    body = json.loads((store / "store.json").read_text())
    body["backbone"] |= {"logit_scale": 112.7, "logit_bias": -12.5}
    (store / "store.json").write_text(json.dumps(body))
    shutil.copy(toy / "captions.csv", tmp_path)
    settings = TrainSettings(**{**vars(SETTINGS), "epochs": 1, "learning_rate": 1e-6})
    run(tmp_path, tmp_path / "run", settings=settings)
    assert read_metrics(tmp_path / "run")[0]["logit_scale"] == pytest.approx(112.7)
    head, _ = load_head(tmp_path / "run")
    searched = RunModel(
        tmp_path / "run", source=store, backbone=FeatureStore(store).config.backbone, device="cpu"
    )
    assert (
        searched.logit_scale
        == pytest.approx(head.logit_scale.item(), rel=1e-6)
        == pytest.approx(112.7, rel=1e-3)
    )
