"""Defaults, then the recipe, then what was asked for; nonsense is usage."""

from __future__ import annotations

import json

import pytest

from vtrcli.errors import UsageError
from vtrcli.model.train_settings import RECIPES, TrainSettings, recipe_settings


def test_what_was_asked_for_wins_over_the_recipe_and_the_recipe_over_the_default() -> None:
    settings = recipe_settings("didemo", {"batch_size": 32})
    assert (settings.batch_size, settings.num_frames, settings.seed) == (32, 64, TrainSettings().seed)


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_is_valid_and_survives_json(name: str) -> None:
    settings = recipe_settings(name, {})
    assert TrainSettings.from_json(json.loads(json.dumps(settings.to_json()))) == settings


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"batch_size": 1},
            "batch_size is 1; it must be at least 2: a pair needs a negative; change batch_size",
        ),
        (
            {"dsl_temperature": 0.0},
            "dsl_temperature is 0.0; it must be above 0, or none; change dsl_temperature",
        ),
        (
            {"freeze_layers": 2},
            "freeze_layers is 2; it must be used together with finetune; change freeze_layers",
        ),
        (
            {"experts": ("fusion", "scene")},
            "experts is fusion,scene; it must be some of fusion, entity, action; change experts",
        ),
        ({"val_share": 0.5}, "val_share is 0.5; it must be above 0 and below 0.5; change val_share"),
    ],
)
def test_values_out_of_bounds_are_one_clear_line(change: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        recipe_settings(None, change)
    assert str(caught.value) == message


def test_steps_that_are_asked_for_win_over_the_epochs_of_a_recipe() -> None:
    assert recipe_settings("msvd", {}).num_epochs(40) == 5
    assert recipe_settings("msvd", {"steps": 100}).num_epochs(40) == 3
    assert recipe_settings(None, {"epochs": 2}).num_epochs(40) == 2


def test_a_run_that_is_older_than_lengths_in_steps_keeps_its_epochs_and_never_stops_early() -> None:
    old = {**TrainSettings().to_json(), "epochs": 10, "patience": 5}
    del old["steps"]
    settings = TrainSettings.from_json(old)
    assert (settings.num_epochs(7), settings.patience) == (10, None)


def test_an_unknown_recipe_names_the_known_ones() -> None:
    with pytest.raises(
        UsageError, match="recipe 'x'; known: msrvtt, msvd, lsmdc, didemo, activitynet, demo; "
    ):
        recipe_settings("x", {})


def test_from_scratch_clip_learns_at_the_rate_of_the_heads_unless_it_is_given() -> None:
    scratch = {"finetune": True, "from_scratch": True, "learning_rate": 1e-3}
    assert recipe_settings(None, {"finetune": True}).backbone_learning_rate == 1e-7
    assert recipe_settings(None, scratch).backbone_learning_rate == 1e-3
    assert recipe_settings(None, {**scratch, "backbone_learning_rate": 1e-5}).backbone_learning_rate == 1e-5
