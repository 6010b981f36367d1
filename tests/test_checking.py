"""Golden features: the same weights agree with themselves at the same times, others do not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.cli.runner import run
from tests.model.tiny_clip import write_tiny_clip
from tests.video_files import make_video
from vtrcli.checking import compare_with_golden, read_table
from vtrcli.errors import InputError
from vtrcli.model.backbone import load_backbone
from vtrcli.video.reader import open_video
from vtrcli.video.sampling import Sampling


@pytest.fixture
def golden(tmp_path: Path) -> Path:
    """A video of 10 frames per second, and the features of its frames at 0, 200, 400 … ms."""
    video = make_video(tmp_path / "a.mp4", seconds=2.0)
    backbone = load_backbone(
        str(write_tiny_clip(tmp_path / "tiny.safetensors")), device="cpu", precision="float32"
    )
    with open_video(video, Sampling(fps=10, min_frames=1), size=32) as reader:
        frames = np.concatenate([batch.pixels for batch in reader])
    np.save(tmp_path / "golden.npy", backbone.encode_images(frames[::2]))
    return tmp_path


def test_the_same_weights_agree(golden: Path) -> None:
    name = str(golden / "tiny.safetensors")
    found = compare_with_golden(
        name, video=golden / "a.mp4", features=golden / "golden.npy", fps=5, device="cpu"
    )
    assert found.num_rows == 10
    assert found.min_cosine > 0.999
    result = run(
        "models",
        "check",
        name,
        "--video",
        str(golden / "a.mp4"),
        "--features",
        str(golden / "golden.npy"),
        "--device",
        "cpu",
    )
    assert result.exit_code == 0, result.output
    assert "10 frames" in result.stdout


def test_other_weights_do_not_and_that_is_exit_4(golden: Path) -> None:
    other = str(write_tiny_clip(golden / "other.safetensors", seed=1))
    result = run(
        "models",
        "check",
        other,
        "--video",
        str(golden / "a.mp4"),
        "--features",
        str(golden / "golden.npy"),
        "--device",
        "cpu",
    )
    assert result.exit_code == 4
    assert "lowest cosine" in result.stderr


def test_a_file_that_is_no_table_is_one_clear_line(golden: Path) -> None:
    (golden / "golden.npy").write_bytes(b"no numpy")
    with pytest.raises(
        InputError, match=r"cannot be read: .*; a \.npy file of numbers, \[num_frames, dim\]; "
    ):
        compare_with_golden(
            str(golden / "tiny.safetensors"), video=golden / "a.mp4", features=golden / "golden.npy", fps=5
        )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read: "),
        (np.array([["a", "b"]]), "it holds <U1 of shape [1, 2]; "),
        (np.ones(3), "it holds float64 of shape [3]; "),
        (np.array([[1.0, np.nan]]), "not all of its numbers are finite; "),
    ],
)
def test_only_a_table_of_finite_numbers_is_read(
    tmp_path: Path, content: np.ndarray | None, message: str
) -> None:
    path = tmp_path / "golden.npy"
    path.write_bytes(b"") if content is None else np.save(path, content)
    with pytest.raises(InputError) as caught:
        read_table(path)
    assert message in str(caught.value)


def test_several_arrays_are_no_table(tmp_path: Path) -> None:
    with open(tmp_path / "golden.npy", "wb") as file:
        np.savez(file, a=np.ones((2, 2)))
    with pytest.raises(InputError, match="it holds several arrays; "):
        read_table(tmp_path / "golden.npy")


@pytest.mark.parametrize(("given", "missing"), [("--video", "--features"), ("--features", "--video")])
def test_a_video_and_its_features_go_together(given: str, missing: str) -> None:
    result = run("models", "check", "demo", given, "x")
    assert result.exit_code == 2
    assert result.stderr.startswith(f"vtr: {given} without {missing}; ")
