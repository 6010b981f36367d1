"""Device and number format."""

from __future__ import annotations

import pytest
import torch

from vtrcli.errors import UsageError
from vtrcli.model.precision import choose_device, choose_precision, cpu_has_bfloat16


def test_auto_takes_the_best_that_is_there():
    expected = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    assert choose_device("auto") == expected


def test_auto_precision_follows_the_device_and_the_tower():
    assert choose_precision("auto", device="cuda:1", towers="text") == "float16"
    assert choose_precision("auto", device="mps", towers="both") == "float32"
    assert choose_precision("auto", device="cpu", towers="text") == "float32"
    expected = "bfloat16" if cpu_has_bfloat16() else "float32"
    assert choose_precision("auto", device="cpu", towers="image") == expected
    assert choose_precision("auto", device="cpu", towers="both") == expected


def test_a_precision_that_was_asked_for_is_kept():
    assert choose_precision("float16", device="cpu", towers="text") == "float16"


@pytest.mark.parametrize("device", ["gpu", "cuda:99", "cpu:x"])
def test_a_device_that_is_not_there_is_a_usage_error(device):
    with pytest.raises(UsageError) as error:
        choose_device(device)
    assert str(error.value) == (
        f"device {device!r} cannot be used here; auto, cpu, cuda, cuda:N or mps, "
        "as far as this machine has them; use --device auto"
    )


def test_an_unknown_precision_is_a_usage_error():
    with pytest.raises(UsageError) as error:
        choose_precision("int8", device="cpu", towers="both")
    assert str(error.value) == (
        "precision 'int8' is not known; auto, float16, bfloat16, float32; use --precision auto"
    )
