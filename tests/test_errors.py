"""What every error of vtr must be able to do."""

from __future__ import annotations

import pickle

import pytest

from vtrcli.errors import (
    InputError,
    NotFiniteError,
    StoreError,
    UsageError,
    VideoError,
    VtrError,
    WeightsError,
)


@pytest.mark.parametrize(
    "error",
    [
        *(kind("a", allowed="b", to_do="c") for kind in (VtrError, UsageError, InputError, StoreError)),
        *(kind("a", allowed="b", to_do="c") for kind in (WeightsError, NotFiniteError)),
        VideoError("corrupt", "nothing decodes", path="a.mp4"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_comes_whole_out_of_another_process(error: VtrError) -> None:
    back = pickle.loads(pickle.dumps(error))  # noqa: S301 - as multiprocessing and Ray do between their own processes
    assert (type(back), str(back), vars(back)) == (type(error), str(error), vars(error))
