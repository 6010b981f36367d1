"""List, pull, import and check."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file

from tests.cli.runner import run
from tests.model.tiny_clip import tiny_state_dict, write_tiny_clip
from tests.video_files import make_video
from vtrcli.errors import InputError, UsageError, WeightsError
from vtrcli.model.clip.converted import preprocessing as clip_preprocessing
from vtrcli.model.clip.image_tower import ImageTower
from vtrcli.model.clip.original import original
from vtrcli.model.families import load_backbone
from vtrcli.model.models import (
    check_weights,
    compare_features,
    compare_with_golden,
    compare_with_original,
    import_weights,
    list_models,
    pull_model,
    read_table,
)
from vtrcli.video.ffmpeg import ffmpeg_binary
from vtrcli.video.reader import open_video
from vtrcli.video.sampling import Rate


@pytest.fixture
def plain(tmp_path):
    path = tmp_path / "mine.pt"
    torch.save(tiny_state_dict(), path)
    return path


@pytest.mark.usefixtures("cache")
def test_an_empty_cache_lists_what_could_be_pulled():
    entries = {entry.name: entry for entry in list_models()}
    entry = entries["ViT-L/14@336px"]
    assert (entry.kind, entry.dim, entry.input_size) == ("openai", 768, 336)
    assert (entry.state, entry.path, entry.num_bytes) == ("absent", None, None)


def test_a_file_of_clips_is_listed_as_downloaded(cache):
    cache.mkdir(parents=True)
    (cache / "ViT-B-32.pt").write_bytes(b"123")
    entry = next(entry for entry in list_models() if entry.name == "ViT-B/32")
    assert (entry.state, entry.path, entry.num_bytes) == ("downloaded", cache / "ViT-B-32.pt", 3)


@pytest.mark.usefixtures("cache")
def test_imported_weights_are_listed_and_found_by_name(plain):
    path = import_weights(plain, name="my-clip")
    entry = list_models()[-1]
    assert (entry.name, entry.kind, entry.dim, entry.state) == ("my-clip", "imported", 32, "ready")
    assert (entry.path, entry.num_bytes) == (path, path.stat().st_size)
    plain.unlink()
    assert load_backbone("my-clip", device="cpu").info.name == "my-clip"


@pytest.mark.usefixtures("cache")
def test_without_a_name_weights_are_called_after_their_file(plain):
    assert import_weights(plain).name == "mine.vtr.safetensors"


@pytest.mark.parametrize("name", ["demo", "a/b", "../x", ".hidden", ""])
def test_a_name_that_cannot_be_is_refused(tmp_path, plain, name):
    if not name:
        plain = plain.rename(tmp_path / "ä.pt")
    with pytest.raises(UsageError) as error:
        import_weights(plain, name=name)
    assert str(error.value) == (
        f"weights cannot be called {name or 'ä'!r}; a name has letters, digits and . _ @ - (64 at most) and is "
        "not 'demo'; choose another with --name"
    )


@pytest.mark.usefixtures("cache")
def test_other_weights_cannot_take_a_published_name(plain):
    with pytest.raises(WeightsError, match=r"mine.pt is not the published ViT-B/32 \(SHA-256 [0-9a-f]{64}\)"):
        import_weights(plain, name="ViT-B/32")


@pytest.mark.usefixtures("cache")
def test_a_missing_file_cannot_be_imported(tmp_path):
    with pytest.raises(WeightsError) as error:
        import_weights(tmp_path / "none.pt")
    assert str(error.value) == (
        f"{tmp_path}/none.pt cannot be read: No such file or directory; a file or folder of weights; "
        "check the path"
    )


def test_only_published_models_can_be_pulled():
    with pytest.raises(UsageError) as error:
        pull_model("RN50")
    assert str(error.value) == (
        "'RN50' cannot be pulled; OpenAI publishes ViT-B/32, ViT-B/16, ViT-L/14, ViT-L/14@336px; "
        "use `vtr models import FILE` for other weights"
    )


@pytest.mark.usefixtures("cache")
def test_whole_weights_pass_the_check(tmp_path):
    path = write_tiny_clip(tmp_path / "tiny.safetensors")
    assert check_weights(str(path)).dim == 32


@pytest.mark.usefixtures("cache")
def test_a_changed_tensor_fails_the_check(tmp_path):
    path = write_tiny_clip(tmp_path / "tiny.safetensors")
    with safe_open(path, framework="pt") as file:
        state, metadata = {key: file.get_tensor(key) for key in file.keys()}, file.metadata()  # noqa: SIM118
    state["visual.proj"] = state["visual.proj"] + 1
    save_file(state, path, metadata=metadata)
    with pytest.raises(WeightsError, match="its tensors are not those of its SHA-256"):
        check_weights(str(path))


def test_features_are_compared_row_by_row():
    golden = np.array([[3.0, 4.0], [1.0, 0.0], [0.0, 2.0]], np.float32)
    ours = np.array([[6.0, 8.0], [1.0, 1.0], [0.0, 1.0]], np.float16)
    comparison = compare_features(ours, golden)
    assert (comparison.num_rows, comparison.worst_row) == (3, 1)
    assert comparison.min_cosine == pytest.approx(0.5**0.5)
    assert comparison.mean_cosine == pytest.approx((2 + 0.5**0.5) / 3)


@pytest.mark.parametrize("shape", [(2, 2), (3, 3), (0, 2), (3,)])
def test_tables_of_other_shapes_cannot_be_compared(shape):
    with pytest.raises(InputError, match=r"features of shape \[.*\] against \[.*\]"):
        compare_features(np.zeros((3, 2) if shape != (0, 2) else shape), np.zeros(shape))


@pytest.fixture
def golden(tmp_path: Path) -> Path:
    """A video of 10 frames per second, and the features of its frames at 0, 200, 400 … ms."""
    video = make_video(tmp_path / "a.mp4", seconds=2.0)
    backbone = load_backbone(
        str(write_tiny_clip(tmp_path / "tiny.safetensors")), device="cpu", precision="float32"
    )
    with open_video(video, Rate(fps=10, min_frames=1), size=32) as reader:
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


def test_features_need_their_video() -> None:
    result = run("models", "check", "demo", "--features", "x")
    assert result.exit_code == 2
    assert result.stderr.startswith("vtr: --features without --video; ")


def test_a_model_gives_what_clip_itself_gives(weights: str) -> None:
    found = compare_with_original(weights, device="cpu", precision="float32")
    assert found.failures == [] and found.library.startswith("clip-anytorch 2.")
    assert (found.num_frames, found.num_texts) == (8, 6)
    assert min(found.same_pixels, found.texts, found.half_pixels) > 0.99999 and found.end_to_end > 0.999
    assert found.pixels_mean is not None and found.pixels_worst is not None
    assert 0 < found.pixels_mean <= found.pixels_worst < 1


def test_what_differs_from_clip_itself_is_exit_4(weights: str, monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = ImageTower._tokens

    def of_reversed_channels(tower: ImageTower, frames: torch.Tensor) -> torch.Tensor:
        return tokens(tower, frames.flip(-1))

    monkeypatch.setattr(ImageTower, "_tokens", of_reversed_channels)
    result = run("models", "check", weights, "--device", "cpu")
    assert result.exit_code == 4 and "DIFFERENT" in result.stdout
    assert "frames on the same pixels: lowest cosine 0." in result.stderr


def test_the_check_of_a_video_without_square_pixels_leaves_its_pixels_out(
    weights: str, tmp_path: Path
) -> None:
    video = tmp_path / "narrow.mp4"
    source = "testsrc2=size=64x96:rate=4:duration=1,setsar=2/1"
    command = [ffmpeg_binary(), "-v", "error", "-f", "lavfi", "-i", source, str(video)]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    found = compare_with_original(weights, video=video, device="cpu", precision="float32")
    assert found.pixels_mean is None and found.failures == []


@pytest.mark.slow
def test_clip_s_own_transform_is_told_right(tmp_path: Path) -> None:
    """Of torchvision, where it fits torch: Resize, CenterCrop, ToTensor and Normalize as clip puts them together."""
    try:
        from torchvision import transforms
    except RuntimeError as error:
        pytest.skip(f"torchvision does not fit torch here: {error}")
    told = clip_preprocessing(32)
    theirs = transforms.Compose(
        [
            transforms.Resize(32, interpolation=transforms.InterpolationMode.BICUBIC),
            transforms.CenterCrop(32),
            transforms.ToTensor(),
            transforms.Normalize(told.mean, told.std),
        ]
    )
    path = write_tiny_clip(tmp_path / "tiny.safetensors")
    for width, height in ((64, 48), (48, 85), (33, 32), (1001, 333)):
        picture = Image.fromarray(np.random.default_rng(width).integers(0, 256, (height, width, 3), np.uint8))
        np.testing.assert_allclose(original(path).pixels(picture), theirs(picture).numpy(), atol=1e-6)


def test_real_weights_give_the_published_features(test_data):
    if next(entry for entry in list_models() if entry.name == "ViT-B/32").state == "absent":
        pytest.skip("the weights of ViT-B/32 are not in ~/.cache/clip (vtr models pull ViT-B/32)")
    comparison = compare_with_golden(
        "ViT-B/32",
        video=test_data / "videos" / "natural" / "anet_v_GGSY1Qvo990.mp4",
        features=test_data / "features" / "v_GGSY1Qvo990_clip_vitb32_5fps.npy",
        fps=5,
    )
    assert comparison.num_rows == 90
    assert comparison.min_cosine > 0.99
