"""Which run the demo goes on with, and when it begins another."""

from __future__ import annotations

from pathlib import Path

from tests.store.stores import make_config
from vtrcli.demo.demo import choose_run
from vtrcli.model.camoe_config import CamoeConfig
from vtrcli.model.runs import LAST, RunConfig, write_config
from vtrcli.model.train_settings import TrainSettings, recipe_settings

SETTINGS = recipe_settings("demo", {"epochs": 2})


def begin(run: Path, settings: TrainSettings) -> None:
    config = RunConfig(
        settings=settings,
        head=CamoeConfig(dim=8),
        backbone=make_config().backbone,
        dataset="csv",
        annotations="/a",
        store="/s",
        tagger_id="t",
        num_train_videos=1,
        num_train_texts=1,
        num_val_videos=1,
    )
    write_config(run, config)


def test_a_run_of_the_same_settings_is_gone_on_with(tmp_path: Path) -> None:
    assert choose_run(tmp_path, SETTINGS) == (tmp_path / "runs" / "demo", False)
    begin(tmp_path / "runs" / "demo", SETTINGS)
    (tmp_path / "runs" / "demo" / LAST).touch()
    assert choose_run(tmp_path, SETTINGS) == (tmp_path / "runs" / "demo", True)


def test_other_epochs_are_trained_anew_beside_it(tmp_path: Path) -> None:
    begin(tmp_path / "runs" / "demo", recipe_settings("demo", {}))
    (tmp_path / "runs" / "demo" / LAST).touch()
    assert choose_run(tmp_path, SETTINGS) == (tmp_path / "runs" / "demo-2", False)


def test_a_run_that_saved_nothing_is_left_alone(tmp_path: Path) -> None:
    begin(tmp_path / "runs" / "demo", SETTINGS)
    assert choose_run(tmp_path, SETTINGS) == (tmp_path / "runs" / "demo-2", False)
