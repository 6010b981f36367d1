"""clip-anytorch's two modules load without the package itself."""

from __future__ import annotations

import sys

import pytest

from vtrcli.errors import WeightsError
from vtrcli.model.clip_package import _load, clip_model_module, clip_tokenizer


def test_the_package_init_never_runs():
    assert clip_model_module().CLIP
    assert clip_tokenizer().encode("a photo of a cat") == [320, 1125, 539, 320, 2368]
    assert "clip" not in sys.modules


def test_the_tokenizer_is_made_once_per_process():
    assert clip_tokenizer() is clip_tokenizer()


def test_a_missing_module_says_what_to_install():
    with pytest.raises(WeightsError) as error:
        _load("nothing")
    assert str(error.value) == (
        "clip/nothing.py was not found; the package clip-anytorch 2.6 or later must be installed; "
        "run: python -m pip install 'clip-anytorch>=2.6'"
    )
