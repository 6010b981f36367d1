"""Decoding on a card: what goes there, that its frames give the same pixels, and what happens where there is none.

What can be had without one is real here: the bundled ffmpeg knows CUDA, and says that no driver is there.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.cli.runner import run
from vtrcli.errors import UsageError
from vtrcli.extraction.extract import extract, gpu_number
from vtrcli.store.reader import FeatureStore
from vtrcli.video import graph
from vtrcli.video.child import Child, Patience
from vtrcli.video.ffmpeg import ffmpeg_binary
from vtrcli.video.files import VideoInfo
from vtrcli.video.graph import Decoding
from vtrcli.video.hardware import not_for_a_card, require_gpu_decoding, trouble
from vtrcli.video.probe import probe
from vtrcli.video.reader import VideoReader, open_video
from vtrcli.video.sampling import Keyframes, Rate, Sampling, Uniform

HAS_CARD = torch.cuda.is_available()
WITHOUT_A_CARD = pytest.mark.skipif(HAS_CARD, reason="this machine has a CUDA device")
BUNDLED_KNOWS_CUDA = pytest.mark.skipif(
    sys.platform != "linux", reason="the bundled ffmpeg knows CUDA on Linux alone"
)
NO_DRIVER = "Cannot load libcuda.so.1"


def make(path: Path, *options: str, size: str = "322x238", seconds: float = 3) -> Path:
    source = f"testsrc2=size={size}:rate=10:duration={seconds},noise=alls=20:allf=t"
    command = [ffmpeg_binary(), "-v", "error", "-y", "-f", "lavfi", "-i", source, "-threads", "1"]
    subprocess.run([*command, *options, str(path)], check=True, stdin=subprocess.DEVNULL)
    return path


@pytest.fixture(scope="module")
def kinds(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("kinds")
    x264 = ("-c:v", "libx264", "-preset", "ultrafast", "-g", "7", "-pix_fmt")
    return {
        "8 bit": make(folder / "8.mp4", *x264, "yuv420p"),
        "10 bit": make(folder / "10.mkv", *x264, "yuv420p10le"),
        "mpeg4": make(folder / "old.avi", "-c:v", "mpeg4"),
        "444": make(folder / "444.mp4", *x264, "yuv444p"),
    }


def as_if_from_a_card(command: list[str], info: VideoInfo) -> list[str]:
    """The same command with the decoder of here, whose frames are first laid out as a card gives them."""
    opened = command.index("-init_hw_device")  # once, however many inputs there are
    assert command.count("-init_hw_device") == 1 and command[opened + 1] == "cuda=card:2"
    command = command[:opened] + command[opened + 2 :]
    places = [place for place, word in enumerate(command) if word == "-hwaccel"]
    assert places and all(
        command[place + 1 : place + 4] == ["cuda", "-hwaccel_device", "card"] for place in places
    )
    kept = [word for place, word in enumerate(command) if not any(0 <= place - each < 4 for each in places)]
    card, plain = (
        {"yuv420p": "nv12", "yuv420p10le": "p010le"}[info.pixel_format],
        f"format={info.pixel_format}",
    )
    found = [word.replace(plain, f"format={card},{plain}") for word in kept]
    assert found != kept
    return found


def commands(info: VideoInfo, decoding: Decoding) -> Iterator[list[str]]:
    yield graph.linear_command(info, decoding, first_seconds=0.3, step_seconds=0.45, report="{pts}")
    yield graph.seek_command(info, decoding, targets_seconds=[0.2, 1.7], report="{pts}")
    yield graph.keyframes_command(info, decoding, keep=None, decode_all=False, report="{pts}")


@pytest.mark.parametrize("kind", ["8 bit", pytest.param("10 bit", marks=pytest.mark.slow)])
def test_frames_laid_out_as_a_card_does_give_the_same_pixels(kinds: dict[str, Path], kind: str) -> None:
    info = probe(kinds[kind])
    here = Decoding(size=64)
    pairs = zip(commands(info, here), commands(info, replace(here, gpu=2)), strict=True)
    for plain, on_card in pairs:
        expected, found = (
            subprocess.run(command, capture_output=True, check=True).stdout
            for command in (plain, as_if_from_a_card(on_card, info))
        )
        assert len(expected) >= 2 * 64 * 64 * 3 and found == expected


def test_a_card_takes_what_its_standard_fixes_to_the_bit(kinds: dict[str, Path]) -> None:
    told = {kind: not_for_a_card(probe(path)) for kind, path in kinds.items()}
    assert told == {
        "8 bit": None,
        "10 bit": None,
        "mpeg4": "codec mpeg4",
        "444": "pixel format yuv444p",
    }


def frames_of(
    path: Path, sampling: Sampling, *, gpu: int | None
) -> tuple[VideoReader, np.ndarray, np.ndarray]:
    with open_video(path, sampling, size=32, gpu=gpu) as reader:
        batches = list(reader)
    pixels = np.concatenate([batch.pixels for batch in batches])
    return reader, pixels, np.concatenate([batch.timestamps for batch in batches])


@WITHOUT_A_CARD
@BUNDLED_KNOWS_CUDA
@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("8 bit", NO_DRIVER),
        pytest.param("10 bit", NO_DRIVER, marks=pytest.mark.slow),
        pytest.param("mpeg4", "codec mpeg4", marks=pytest.mark.slow),
    ],
)
def test_what_goes_wrong_on_the_card_is_decoded_by_the_processor(
    kinds: dict[str, Path], kind: str, reason: str
) -> None:
    for sampling in (Uniform(num_frames=3), Rate(fps=2.0, min_frames=1), Keyframes()):
        reader, pixels, times = frames_of(kinds[kind], sampling, gpu=0)
        plain, expected, when = frames_of(kinds[kind], sampling, gpu=None)
        assert (reader.left_to_cpu, plain.left_to_cpu) == (reason, None)
        assert reader.warnings == plain.warnings and reader.plan.method == plain.plan.method
        np.testing.assert_array_equal(pixels, expected)
        np.testing.assert_array_equal(times, when)


@WITHOUT_A_CARD
@BUNDLED_KNOWS_CUDA
def test_without_a_card_the_option_is_refused_in_words(
    kinds: dict[str, Path], weights: str, tmp_path: Path
) -> None:
    expected = (
        "decoding on GPU 0 cannot be had here: Cannot load libcuda.so.1; an NVIDIA GPU with its driver, and an ffmpeg "
        "built with CUDA, as the bundled one is on Linux; leave out --decode-on gpu, or name another ffmpeg with "
        "VTR_FFMPEG"
    )
    with pytest.raises(UsageError) as caught:
        require_gpu_decoding(0)
    assert str(caught.value) == expected
    folder = str(kinds["8 bit"].parent)
    result = run(
        "extract", folder, "--store", str(tmp_path / "s"), "--backbone", weights, "--decode-on", "gpu"
    )
    assert result.exit_code == 2 and " ".join(expected.split()) in " ".join(result.stderr.split())


def test_an_ffmpeg_without_cuda_is_told_by_its_own_list(tmp_path: Path) -> None:
    """What a usual build for the Mac prints."""
    binary = tmp_path / "ffmpeg"
    binary.write_text("#!/bin/sh\nprintf 'Hardware acceleration methods:\\nvideotoolbox\\n\\n'\n")
    binary.chmod(0o755)
    assert trouble(str(binary), 0) == f"{binary} was built without CUDA"


@WITHOUT_A_CARD
@BUNDLED_KNOWS_CUDA
def test_a_run_tells_which_videos_were_left_to_the_processor(
    kinds: dict[str, Path], weights: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a machine whose driver goes away after the run began."""
    monkeypatch.setattr("vtrcli.extraction.worker.require_gpu_decoding", lambda gpu: None)
    found, expected = (
        extract(
            [kinds["8 bit"].parent],
            store=tmp_path / where,
            backbone=weights,
            sampling=Uniform(num_frames=2),
            device="cpu",
            decode_on=where,
        )
        for where in ("gpu", "cpu")
    )
    assert sorted(found.warnings) == sorted(
        [
            *expected.warnings,
            "2 videos decoded on the CPU, not the GPU: Cannot load libcuda.so.1",
            "1 video decoded on the CPU, not the GPU: codec mpeg4",
            "1 video decoded on the CPU, not the GPU: pixel format yuv444p",
        ]
    )
    assert (found.num_extracted, found.num_failed) == (4, 0)
    stores = FeatureStore(tmp_path / "gpu"), FeatureStore(tmp_path / "cpu")
    for name in stores[0].videos:
        np.testing.assert_array_equal(*(store.features(name) for store in stores))


@pytest.mark.skipif(sys.platform != "linux", reason="limits are set on Linux")
@pytest.mark.parametrize(("wanted", "status"), [("reserve", 0), ("fill", 1)])
def test_a_child_that_uses_a_card_may_reserve_addresses_but_not_fill_them(wanted: str, status: int) -> None:
    """CUDA reserves as much as it could ever map; what a hostile video makes a decoder fill stays limited."""
    code = {
        "reserve": "mmap.mmap(-1, 8 << 30, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, prot=0)",
        "fill": "bytearray(300 << 20)",
    }[wanted]
    # It waits for a word, so that the limit is there before it begins.
    script = f"import mmap, time; time.sleep(0.3); {code}"
    command = [sys.executable, "-S", "-c", script]
    with Child(command, patience=Patience(20), memory_bytes=100 << 20, maps_device=True) as child:
        assert child.wait() == status, child.log
    if wanted == "reserve":
        with Child(command, patience=Patience(20), memory_bytes=100 << 20) as child:
            assert child.wait() == 1


def test_the_card_is_that_of_the_device() -> None:
    assert [gpu_number(device) for device in ("cuda:3", "cuda", "auto", "cpu")] == [3, 0, 0, 0]


@pytest.mark.gpu
@pytest.mark.skipif(not HAS_CARD, reason="needs a CUDA device")
@pytest.mark.parametrize("codec", ["libx264", "libx265", "libvpx-vp9"])
@pytest.mark.parametrize("sampling", [Uniform(num_frames=5), Keyframes()], ids=["uniform", "keyframes"])
def test_a_card_gives_the_bits_of_the_processor(tmp_path: Path, codec: str, sampling: Sampling) -> None:
    path = make(tmp_path / "clip.mkv", "-c:v", codec, "-pix_fmt", "yuv420p", size="640x360", seconds=6)
    reader, pixels, times = frames_of(path, sampling, gpu=0)
    _, expected, when = frames_of(path, sampling, gpu=None)
    assert reader.left_to_cpu is None
    np.testing.assert_array_equal(pixels, expected)
    np.testing.assert_array_equal(times, when)
