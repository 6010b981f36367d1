"""Which frames are encoded, and what the others get."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vtrcli.errors import StoreError, UsageError
from vtrcli.extraction.extract import extract
from vtrcli.extraction.similar import NewFrames, cell_difference
from vtrcli.model.families import load_backbone
from vtrcli.model.frame_batches import FrameBatcher, lanes_of
from vtrcli.store.config import read_config
from vtrcli.store.reader import FeatureStore
from vtrcli.video.ffmpeg import ffmpeg_binary
from vtrcli.video.reader import open_video
from vtrcli.video.sampling import Uniform

FRAMES = st.lists(st.integers(0, 40), min_size=1, max_size=30).map(
    lambda levels: np.stack([np.full((20, 36, 3), level, np.uint8) for level in levels])
)


@given(FRAMES, st.sampled_from([0, 1, 4, 10]), st.integers(1, 7))
def test_each_frame_is_near_the_one_that_stands_for_it_and_a_new_one_far_from_the_last(
    frames, bound, batch_size
):
    picker = NewFrames(bound)
    parts = [picker.pick(frames[at : at + batch_size]) for at in range(0, len(frames), batch_size)]
    encoded, numbers = (np.concatenate(each) for each in zip(*parts, strict=True))
    assert (np.diff(numbers, prepend=-1) >= 0).all()
    assert numbers.tolist()[-1] == len(encoded) - 1
    for frame, number in zip(frames, numbers, strict=True):
        assert cell_difference(frame, encoded[number]) <= bound
    for before, after in itertools.pairwise(encoded):
        assert cell_difference(before, after) > bound
    whole, whole_numbers = NewFrames(bound).pick(frames)  # however the frames were cut into batches
    np.testing.assert_array_equal(whole, encoded)
    np.testing.assert_array_equal(whole_numbers, numbers)


def test_a_small_thing_that_appears_counts_where_it_is_and_at_the_edge_too():
    frame = np.zeros((40, 40, 3), np.uint8)
    other = frame.copy()
    other[36:, 36:] = 200  # a quarter of the 8 x 8 pixels that are left over there
    assert cell_difference(frame, other) == 200 * 16 / 64
    other = frame.copy()
    other[16:32, 0:16] = 3
    assert cell_difference(frame, other) == cell_difference(other, frame) == 3


@pytest.mark.parametrize("bound", [float("nan"), -1, 256])
def test_a_bound_that_is_none_is_refused(bound, tmp_path):
    with pytest.raises(UsageError) as error:
        extract(
            [tmp_path],
            store=tmp_path / "s",
            backbone="demo",
            sampling=Uniform(num_frames=4),
            similar_frames=bound,
        )
    assert str(error.value) == (
        f"frames are similar up to {bound}; 0 (equal frames alone) to 255; change --similar-frames"
    )


@pytest.fixture(scope="module")
def slides(tmp_path_factory):
    """Three slides, three seconds each; each stands for itself."""
    path = tmp_path_factory.mktemp("slides") / "slides.mp4"
    source = "color=c=0x{}:size=96x64:rate=10:duration=3,drawgrid=w={}:h=24:t=2:c=white"
    inputs = [
        ["-f", "lavfi", "-i", source.format(color, 10 + n)]
        for n, color in enumerate(("402010", "204060", "a0a030"))
    ]
    command = [
        ffmpeg_binary(),
        "-v",
        "error",
        *itertools.chain(*inputs),
        "-filter_complex",
        "concat=n=3",
        "-qp",
        "0",
    ]
    subprocess.run([*command, "-c:v", "libx264", "-preset", "ultrafast", str(path)], check=True)
    return path


def _features(path, sampling):
    """Of every frame for itself."""
    backbone = load_backbone("demo", towers="image")
    with open_video(path, sampling, size=backbone.preprocessing) as reader:
        pixels = np.concatenate([batch.pixels for batch in reader])
    batcher = FrameBatcher(lanes_of(backbone, batch_size=16))
    found = [*batcher.push(0, pixels), *batcher.flush()]
    return np.concatenate([features for _, features in found]).astype(np.float16)


def test_equal_frames_are_encoded_once_with_the_same_bits(slides, tmp_path):
    sampling = Uniform(num_frames=18)
    result = extract([slides], store=tmp_path / "s", backbone="demo", sampling=sampling, batch_size=16)
    assert (result.num_frames, result.num_repeated) == (18, 15)
    assert result.to_json()["num_repeated"] == 15
    np.testing.assert_array_equal(
        FeatureStore(tmp_path / "s").features("slides"), _features(slides, sampling)
    )


def test_a_store_tells_its_bound_and_refuses_another(slides, tmp_path):
    store, sampling = tmp_path / "s", Uniform(num_frames=6)
    plain = tmp_path / "plain"
    extract([slides], store=store, backbone="demo", sampling=sampling, similar_frames=255)
    assert read_config(store).similar_frames == 255
    features = FeatureStore(store).features("slides")
    assert len(features) == 6
    assert (features == features[0]).all()
    with pytest.raises(StoreError) as error:
        extract([slides], store=store, backbone="demo", sampling=sampling)
    assert str(error.value) == (
        f"store {store} has similar frames up to 255, not 0; a store holds one bound; 0 is for frames that are equal; "
        f"use `--similar-frames 255`, or `--store {store}-other` for 0"
    )
    extract([slides], store=plain, backbone="demo", sampling=sampling)
    assert "similar_frames" not in json.loads((plain / "store.json").read_text())["preprocessing"]


_WATCHED = """
import os, sys
class Watch:
    def find_spec(self, name, path, target=None):
        if name == "torch":
            print(os.environ.get("OMP_WAIT_POLICY"))
            sys.meta_path.remove(self)
sys.meta_path.insert(0, Watch())
import vtrcli
vtrcli.extract(sys.argv[1], sys.argv[2], backbone="demo", frames=2)
"""


@pytest.mark.slow
def test_an_extraction_from_python_asks_torchs_threads_to_sleep_before_torch_is_there(slides, tmp_path):
    environment = {key: value for key, value in os.environ.items() if key != "OMP_WAIT_POLICY"}
    command = [sys.executable, "-c", _WATCHED, str(slides), str(tmp_path / "s")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "PASSIVE\n"
