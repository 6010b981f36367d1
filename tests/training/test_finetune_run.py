"""Fine-tuning from kept frames: it learns, resumes to the bit, and what it saves is a backbone like any other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from tests.training.toy_frames import WORDS, make_toy_frames
from vtrcli.errors import InputError, StoreError
from vtrcli.evaluation.inputs import from_store
from vtrcli.extraction.reencode import reencode_frames
from vtrcli.model.families import backbone_info, load_trainable
from vtrcli.model.runs import load_head, read_config
from vtrcli.model.train_settings import TrainSettings
from vtrcli.ranking.evaluate import evaluate
from vtrcli.store.reader import FeatureStore, padded_frames
from vtrcli.text.cache import cache_texts, open_text_cache
from vtrcli.training.data import join_splits
from vtrcli.training.finetune import FinetuneEncoder, encode_set, frame_sets
from vtrcli.training.record import TrainResult, read_metrics
from vtrcli.training.train import train

SETTINGS = TrainSettings(
    epochs=3, batch_size=6, num_frames=3, captions="all", patience=None, seed=1, finetune=True,
    from_scratch=True, learning_rate=5e-4, backbone_learning_rate=5e-4,
)  # fmt: skip


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_toy_frames(tmp_path_factory.mktemp("toy"))


def run(toy: Path, out: Path, *, settings: TrainSettings = SETTINGS, **options: Any) -> TrainResult:
    return train(
        store=toy / "store", dataset="csv", annotations=toy, out=out, settings=settings, device="cpu",
        **options,
    )  # fmt: skip


def stop_after(num_steps: int) -> Callable[[], bool]:
    steps = iter(range(1, 10_000))
    return lambda: next(steps) >= num_steps


def test_clip_learns_from_scratch_and_its_backbone_serves_a_store_and_an_evaluation(
    toy: Path, tmp_path: Path
) -> None:
    result = run(toy, tmp_path / "run", settings=replace(SETTINGS, epochs=8, batch_size=8))
    rows = read_metrics(tmp_path / "run")
    assert rows[0]["val"]["t2v"]["R@1"] <= 37.5
    assert result.val["t2v"]["R@1"] == result.val["v2t"]["R@1"] == 100.0
    assert rows[-1]["loss"] < rows[1]["loss"] / 3
    config, backbone = read_config(tmp_path / "run"), tmp_path / "run" / "backbone.safetensors"
    assert config.backbone.name == str(backbone.resolve())
    assert config.backbone.sha256 == backbone_info(str(backbone)).sha256
    assert config.started_from == f"{toy.resolve() / 'clip.safetensors'} from scratch"
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert names == {"config.json", "metrics.jsonl", "model.safetensors", "last.safetensors",
                     "backbone.safetensors", "curves.svg"}  # fmt: skip

    reencode_frames(toy / "store", target=tmp_path / "new", backbone=str(backbone), device="cpu")
    inputs = from_store(
        tmp_path / "new", run=tmp_path / "run", dataset="csv", annotations=toy, split="val", device="cpu"
    )
    found = evaluate(inputs.source, inputs.truth, num_bootstrap=0)
    for direction, metrics in (("t2v", found.t2v), ("v2t", found.v2t)):
        assert metrics is not None and metrics.to_json() == result.val[direction]


@pytest.mark.slow
def test_validation_sees_the_features_that_a_store_of_the_run_has(toy: Path, tmp_path: Path) -> None:
    run(toy, tmp_path / "run", settings=replace(SETTINGS, epochs=1))
    backbone = tmp_path / "run" / "backbone.safetensors"
    reencode_frames(toy / "store", target=tmp_path / "new", backbone=str(backbone), device="cpu")
    tuned = load_trainable(str(backbone), device="cpu")
    camoe, config = load_head(tmp_path / "run")
    store, new = FeatureStore(toy / "store"), FeatureStore(tmp_path / "new")
    parts = join_splits(store, "csv", toy, allow_missing=False, note=print)
    val = frame_sets(
        store,
        parts,
        config.settings,
        tuned,
        tagger="hanta",
    )[-1]
    found = encode_set(FinetuneEncoder(tuned, camoe), val, device="cpu")
    frames, mask = padded_frames(new, val.video_ids, num_frames=config.settings.num_frames)
    np.testing.assert_array_equal(found.frame_mask, mask)
    np.testing.assert_array_equal(found.frames, frames)  # also where the CPU computes in bfloat16
    texts = [caption.text for caption in parts[-1].captions]
    cache_texts(new, texts, device="cpu")
    rows = open_text_cache(new, tagger_id=config.tagger_id).rows(texts)
    np.testing.assert_allclose(found.texts.astype(float), rows.features.astype(float), rtol=2e-3, atol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("num_steps", [1, 4])
def test_resuming_equals_never_stopping_to_the_bit(toy: Path, tmp_path: Path, num_steps: int) -> None:
    run(toy, tmp_path / "whole")
    assert run(toy, tmp_path / "parts", should_stop=stop_after(num_steps)).was_interrupted
    assert not run(toy, tmp_path / "parts", resume=True).was_interrupted
    for name in ("model.safetensors", "last.safetensors", "backbone.safetensors"):
        whole, parts = load_file(tmp_path / "whole" / name), load_file(tmp_path / "parts" / name)
        assert whole.keys() == parts.keys()
        assert all(torch.equal(whole[key], parts[key]) for key in whole), name
    one, other = (read_config(tmp_path / folder).backbone for folder in ("whole", "parts"))
    assert one.sha256 == other.sha256


def test_frozen_layers_stay_as_they_were_and_the_starting_file_is_never_touched(
    toy: Path, tmp_path: Path
) -> None:
    before = (toy / "clip.safetensors").read_bytes()
    settings = replace(SETTINGS, from_scratch=False, freeze_layers=1, epochs=1)
    run(toy, tmp_path / "run", settings=settings)
    assert (toy / "clip.safetensors").read_bytes() == before
    start, last = load_file(toy / "clip.safetensors"), load_file(tmp_path / "run" / "last.safetensors")
    same = {name for name, tensor in start.items() if torch.equal(tensor.float(), last[f"model.clip.{name}"])}
    assert "visual.transformer.resblocks.0.mlp.c_fc.weight" in same and "token_embedding.weight" in same
    assert not same & {"visual.transformer.resblocks.1.mlp.c_fc.weight", "text_projection", "visual.proj"}


@pytest.mark.slow
def test_another_backbone_can_be_the_start(toy: Path, tmp_path: Path) -> None:
    settings = replace(SETTINGS, from_scratch=False, epochs=1)
    run(toy, tmp_path / "first", settings=settings)
    backbone = tmp_path / "first" / "backbone.safetensors"
    run(toy, tmp_path / "second", settings=settings, backbone=str(backbone))
    assert read_config(tmp_path / "second").started_from == str(backbone.resolve())


def test_a_loss_that_is_not_finite_names_the_batch_and_keeps_the_last_good_state(
    toy: Path, tmp_path: Path
) -> None:
    settings = replace(SETTINGS, learning_rate=1e30, backbone_learning_rate=1e30, warmup_share=0.0)
    with pytest.raises(InputError, match=r"of epoch 1 \(.* and 1 more\)"):
        run(toy, tmp_path / "run", settings=settings)
    for name in ("model.safetensors", "last.safetensors", "backbone.safetensors"):
        assert all(bool(tensor.isfinite().all()) for tensor in load_file(tmp_path / "run" / name).values())


@pytest.mark.slow
def test_a_batch_larger_than_the_data_is_one_batch_and_one_video_is_refused(
    toy: Path, tmp_path: Path
) -> None:
    assert run(toy, tmp_path / "run", settings=replace(SETTINGS, batch_size=1000, epochs=1)).epochs == 1
    (tmp_path / "captions.csv").write_text(f"video_id,caption\n{WORDS[0]}0,a cat\n")
    with pytest.raises(InputError, match="1 videos to train on; at least 4"):
        train(
            store=toy / "store", dataset="csv", annotations=tmp_path, out=tmp_path / "one", settings=SETTINGS,
            device="cpu",
        )  # fmt: skip


def test_a_store_without_kept_frames_says_so(tmp_path: Path) -> None:
    make_toy_frames(tmp_path, keep_frames=False)
    with pytest.raises(StoreError, match="keeps no frames of 24 videos, the first is 'cat0'; ") as caught:
        run(tmp_path, tmp_path / "run")
    assert caught.value.exit_code == 4
