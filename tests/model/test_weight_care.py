"""List, pull, import and check."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from tests.model.tiny_clip import tiny_state_dict, write_tiny_clip
from vtrcli.errors import InputError, UsageError, WeightsError
from vtrcli.model.backbone import load_backbone
from vtrcli.model.weight_care import (
    check_weights,
    compare_features,
    import_weights,
    list_models,
    pull_model,
)


@pytest.fixture
def plain(tmp_path):
    path = tmp_path / "mine.pt"
    torch.save(tiny_state_dict(), path)
    return path


def test_an_empty_cache_lists_what_could_be_pulled(tmp_path):
    entries = {entry.name: entry for entry in list_models(cache_dir=tmp_path / "none")}
    entry = entries["ViT-L/14@336px"]
    assert (entry.kind, entry.dim, entry.input_size) == ("openai", 768, 336)
    assert (entry.state, entry.path, entry.num_bytes) == ("absent", None, None)


def test_a_file_of_clips_is_listed_as_downloaded(tmp_path):
    (tmp_path / "ViT-B-32.pt").write_bytes(b"123")
    entry = next(entry for entry in list_models(cache_dir=tmp_path) if entry.name == "ViT-B/32")
    assert (entry.state, entry.path, entry.num_bytes) == ("downloaded", tmp_path / "ViT-B-32.pt", 3)


def test_imported_weights_are_listed_and_found_by_name(tmp_path, plain):
    cache = tmp_path / "cache"
    path = import_weights(plain, name="my-clip", cache_dir=cache)
    entry = list_models(cache_dir=cache)[-1]
    assert (entry.name, entry.kind, entry.dim, entry.state) == ("my-clip", "imported", 32, "ready")
    assert (entry.path, entry.num_bytes) == (path, path.stat().st_size)
    plain.unlink()
    assert load_backbone("my-clip", device="cpu", cache_dir=cache).info.name == "my-clip"


def test_without_a_name_weights_are_called_after_their_file(tmp_path, plain):
    assert import_weights(plain, cache_dir=tmp_path).name == "mine.vtr.safetensors"


@pytest.mark.parametrize("name", ["demo", "a/b", "../x", ".hidden", ""])
def test_a_name_that_cannot_be_is_refused(tmp_path, plain, name):
    if not name:
        plain = plain.rename(tmp_path / "ä.pt")
    with pytest.raises(UsageError) as error:
        import_weights(plain, name=name, cache_dir=tmp_path)
    assert str(error.value) == (
        f"weights cannot be called {name or 'ä'!r}; a name has letters, digits and . _ @ - (64 at most) and is "
        "not 'demo'; choose another with --name"
    )


def test_other_weights_cannot_take_a_published_name(tmp_path, plain):
    with pytest.raises(WeightsError, match=r"mine.pt is not the published ViT-B/32 \(SHA-256 [0-9a-f]{64}\)"):
        import_weights(plain, name="ViT-B/32", cache_dir=tmp_path)


def test_a_missing_file_cannot_be_imported(tmp_path):
    with pytest.raises(WeightsError) as error:
        import_weights(tmp_path / "none.pt", cache_dir=tmp_path)
    assert str(error.value) == (
        f"{tmp_path}/none.pt cannot be read: No such file or directory; a file or folder of weights; "
        "check the path"
    )


def test_only_published_models_can_be_pulled(tmp_path):
    with pytest.raises(UsageError) as error:
        pull_model("RN50", cache_dir=tmp_path)
    assert str(error.value) == (
        "'RN50' cannot be pulled; OpenAI publishes ViT-B/32, ViT-B/16, ViT-L/14, ViT-L/14@336px; "
        "use `vtr models import FILE` for other weights"
    )


def test_whole_weights_pass_the_check(tmp_path):
    path = write_tiny_clip(tmp_path / "tiny.safetensors")
    assert check_weights(str(path), cache_dir=tmp_path).dim == 32


def test_a_changed_tensor_fails_the_check(tmp_path):
    path = write_tiny_clip(tmp_path / "tiny.safetensors")
    with safe_open(path, framework="pt") as file:
        state, metadata = {key: file.get_tensor(key) for key in file.keys()}, file.metadata()  # noqa: SIM118
    state["visual.proj"] = state["visual.proj"] + 1
    save_file(state, path, metadata=metadata)
    with pytest.raises(WeightsError, match="its tensors are not those of its SHA-256"):
        check_weights(str(path), cache_dir=tmp_path)


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
