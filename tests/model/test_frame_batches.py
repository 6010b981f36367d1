"""Batches across videos: each video gets its rows back, in order, whatever is under way on a device meanwhile."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.model.tiny_clip import write_overflowing_clip
from vtrcli.errors import NotFiniteError
from vtrcli.model.backbone import Backbone
from vtrcli.model.families import load_backbone
from vtrcli.model.frame_batches import DeviceLane, FrameBatcher, HostLane, Lane, lanes_of

GPU = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
DEVICES = ["cpu", pytest.param("cuda", marks=GPU)]


class LateLane:
    """Reads its rows as late as a device may: when it is waited for. Remembers the shapes, and who broke the law."""

    def __init__(self, batch_size: int) -> None:
        self.rows = np.zeros((batch_size, 2, 2, 3), np.uint8)
        self.shapes: set[tuple[int, ...]] = set()
        self.is_under_way = False

    def start(self) -> None:
        assert not self.is_under_way
        self.is_under_way = True

    def features(self) -> np.ndarray:
        self.wait()
        self.shapes.add(self.rows.shape)
        return self.rows[:, 0, 0, :1].astype(np.float32)

    def wait(self) -> None:
        assert self.is_under_way
        self.is_under_way = False


@given(
    counts=st.lists(st.integers(1, 7), max_size=8), batch_size=st.integers(1, 6), num_lanes=st.integers(1, 3)
)
def test_each_video_gets_its_own_rows_back_in_order(
    counts: list[int], batch_size: int, num_lanes: int
) -> None:
    lanes = [LateLane(batch_size) for _ in range(num_lanes)]
    batcher = FrameBatcher(lanes)
    got: dict[int, list[float]] = {owner: [] for owner in range(len(counts))}
    sent: dict[int, list[float]] = {}
    owners: list[int] = []
    value = 0
    for owner, count in enumerate(counts):
        pixels = np.zeros((count, 2, 2, 3), np.uint8)
        pixels[:] = np.arange(value, value + count).reshape(-1, 1, 1, 1)
        sent[owner] = [float(number) for number in range(value, value + count)]
        value += count
        for name, rows in batcher.push(owner, pixels):
            got[name] += rows[:, 0].tolist()
            owners.append(name)
        assert sum(lane.is_under_way for lane in lanes) < num_lanes  # one is always free to be filled
    for name, rows in batcher.flush():
        got[name] += rows[:, 0].tolist()
        owners.append(name)
    assert got == sent and owners == sorted(owners)
    assert set().union(*(lane.shapes for lane in lanes)) <= {(batch_size, 2, 2, 3)}
    assert batcher.flush() == []
    batcher.close()  # asserts in `wait` that nothing is waited for twice


def test_what_is_under_way_is_waited_for_when_nobody_wants_it() -> None:
    lanes = [LateLane(2), LateLane(2)]
    batcher = FrameBatcher(lanes)
    batcher.push(0, np.zeros((3, 2, 2, 3), np.uint8))
    assert [lane.is_under_way for lane in lanes] == [True, False]
    batcher.close()
    assert [lane.is_under_way for lane in lanes] == [False, False]


def pictures(count: int, backbone: Backbone) -> np.ndarray:
    return np.random.default_rng(count).integers(0, 256, (count, *backbone.preprocessing.shape), np.uint8)


def device_lanes(backbone: Backbone, batch_size: int, count: int = 2) -> list[Lane]:
    copies = torch.cuda.Stream() if backbone.device == "cuda" else None
    return [DeviceLane(backbone, batch_size=batch_size, copies=copies) for _ in range(count)]


def through(lanes: list[Lane], pixels: np.ndarray) -> np.ndarray:
    """In pushes of odd lengths, the last batch a part."""
    batcher, done = FrameBatcher(lanes), []
    for start in range(0, len(pixels), 5):
        done += batcher.push(0, pixels[start : start + 5])
    return np.concatenate([rows for _, rows in [*done, *batcher.flush()]])


@pytest.mark.parametrize("device", DEVICES)
def test_two_lanes_give_the_bits_of_one_that_waits(weights: str, device: str) -> None:
    backbone = load_backbone(weights, device=device, towers="image")
    pixels = pictures(23, backbone)
    waiting = HostLane(backbone.encode_images, batch_size=4, input_size=backbone.preprocessing)
    expected = through([waiting], pixels)
    for num_lanes in (1, 2, 3):
        found = through(device_lanes(backbone, 4, num_lanes), pixels)
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, expected)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_gpu_no_buffer_is_filled_before_its_copy_is_over(weights: str) -> None:
    """Copies of 39 MB that are held up by work on the device, and refilled at once: a race would mix the batches."""
    backbone = load_backbone(weights, device="cuda", towers="image", precision="float32")
    lanes = lanes_of(backbone, batch_size=4096)
    assert len(lanes) == 2
    pixels = pictures(3 * 4096 + 7, backbone)
    heavy = torch.randn(8192, 8192, device="cuda")
    batcher, done = FrameBatcher(lanes), []
    for start in range(0, len(pixels), 4096):
        heavy = torch.tanh(heavy @ heavy)  # the device is behind
        done += batcher.push(0, pixels[start : start + 4096])
    found = np.concatenate([rows for _, rows in [*done, *batcher.flush()]])
    waiting = HostLane(backbone.encode_images, batch_size=4096, input_size=backbone.preprocessing)
    np.testing.assert_array_equal(found, through([waiting], pixels))


def test_a_cpu_gets_one_lane_that_waits(weights: str) -> None:
    (lane,) = lanes_of(load_backbone(weights, device="cpu", towers="image"), batch_size=3)
    assert isinstance(lane, HostLane) and lane.rows.shape == (3, 32, 32, 3)


@pytest.mark.parametrize("device", DEVICES)
def test_what_overflows_is_encoded_again_and_what_was_under_way_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, device: str
) -> None:
    """All rows that are handed out are those of float32, as the word on them says."""
    monkeypatch.setattr("vtrcli.model.backbone.fast_precisions", lambda _: ("float16", "float32"))
    monkeypatch.setattr("vtrcli.model.families.MIN_ROUNDED_COSINE", 0.0)
    path = str(write_overflowing_clip(tmp_path / "large.safetensors"))
    backbone = load_backbone(path, device=device, towers="image")
    assert backbone.precision == "float16"
    pixels = pictures(8, backbone)
    lanes = device_lanes(backbone, 4)
    for lane, rows in zip(lanes, (pixels[:4], pixels[4:]), strict=True):
        lane.rows[:] = rows
        lane.start()
    found = np.concatenate([lane.features() for lane in lanes])
    assert backbone.precision == "float32"
    exact = load_backbone(path, device=device, towers="image", precision="float32")
    expected = np.concatenate([exact.encode_images(pixels[:4]), exact.encode_images(pixels[4:])])
    np.testing.assert_array_equal(found, expected)
    strict = load_backbone(path, device=device, towers="image", precision="float16")
    with pytest.raises(NotFiniteError):
        through(device_lanes(strict, 4), pixels)


class Failing:
    """A backbone that gives up at its third batch."""

    def __init__(self, inner: Backbone) -> None:
        self.info, self.preprocessing = inner.info, inner.preprocessing
        self.device, self.precision, self._inner, self._left = inner.device, inner.precision, inner, 2

    def encode_pixels(self, pixels: torch.Tensor) -> torch.Tensor:
        self._left -= 1
        if self._left < 0:
            raise RuntimeError("out of memory")
        return self._inner.encode_pixels(pixels)


@pytest.mark.parametrize("device", DEVICES)
def test_an_error_in_the_middle_leaves_no_buffer_behind(weights: str, device: str) -> None:
    backbone = load_backbone(weights, device=device, towers="image")
    lanes = device_lanes(Failing(backbone), 4)  # type: ignore[arg-type]
    buffers = [weakref.ref(lane._here) for lane in lanes]  # type: ignore[attr-defined]
    batcher = FrameBatcher(lanes)
    with pytest.raises(RuntimeError, match="out of memory"):
        batcher.push(0, pictures(12, backbone))
    batcher.close()
    del batcher, lanes
    gc.collect()
    assert [buffer() for buffer in buffers] == [None, None]
