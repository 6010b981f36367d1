"""The text tower in NumPy gives torch's features, and refuses what it does not know."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from tests.model.tiny_clip import random_state_dict, write_tiny_clip
from vtrcli.errors import InputError, UsageError
from vtrcli.model import text_tower
from vtrcli.model.backbone import Backbone, NeedsTorch
from vtrcli.model.clip.converted import ClipConfig
from vtrcli.model.clip.model import save_converted
from vtrcli.model.families import load_backbone, load_query_tower
from vtrcli.model.text_tower import FEW_ROWS, TextBackbone, TextShape, TextTower, product
from vtrcli.store.maps import PartFile
from vtrcli.store.shard import TensorFile

TEXTS = [
    "a man is cooking",
    "",
    " ",
    "Ünïcödé 日本 🙂",
    "red " * 90,
    "x",
    "two dogs, running along the beach!",
]


def off(ours: np.ndarray, theirs: np.ndarray) -> float:
    """The largest distance of two features, of their length."""
    return float((np.linalg.norm(ours - theirs, axis=1) / np.linalg.norm(theirs, axis=1)).max())


@pytest.fixture(scope="module")
def towers(tmp_path_factory: pytest.TempPathFactory) -> tuple[Backbone, Backbone]:
    """In NumPy and in torch, of weights in float16."""
    path = write_tiny_clip(tmp_path_factory.mktemp("tower") / "tiny.safetensors")
    return load_query_tower(str(path)), load_backbone(
        str(path), device="cpu", precision="float32", towers="text"
    )


def test_features_are_those_of_torch(towers: tuple[Backbone, Backbone]) -> None:
    ours, theirs = towers
    assert isinstance(ours, TextBackbone) and (ours.info, ours.precision) == (theirs.info, theirs.precision)
    for batch_size in (None, 2):
        found, wanted = (tower.encode_texts(TEXTS, batch_size=batch_size) for tower in (ours, theirs))
        assert off(found.features, wanted.features) < 1e-5
        assert found.was_cut.tolist() == wanted.was_cut.tolist() == [text == "red " * 90 for text in TEXTS]
    assert ours.cut_text("a red dog", 4) == theirs.cut_text("a red dog", 4) == "a red"
    assert ours.encode_texts([]).features.shape == (0, 32)


@settings(max_examples=40)
@given(text=st.text(max_size=80), max_tokens=st.sampled_from([None, 3, 8, 77]))
def test_any_text_has_the_feature_of_torch(
    text: str, max_tokens: int | None, towers: tuple[Backbone, Backbone]
) -> None:
    found, wanted = (tower.encode_texts([text], max_tokens=max_tokens) for tower in towers)
    assert off(found.features, wanted.features) < 1e-5
    assert found.was_cut.tolist() == wanted.was_cut.tolist()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_weights_of_any_format_are_read_exactly(dtype: torch.dtype, tmp_path: Path) -> None:
    """Also from the second call on, for which unfolded weights are kept."""
    config = ClipConfig(
        embed_dim=24, image_resolution=32, vision_layers=1, vision_width=64, vision_patch_size=16,
        context_length=20, vocab_size=49408, transformer_width=192, transformer_heads=3, transformer_layers=3,
    )  # fmt: skip
    state = {key: tensor.to(dtype) for key, tensor in random_state_dict(config, seed=1).items()}
    path = save_converted(state, tmp_path / "other.safetensors", name="other")
    wanted = load_backbone(str(path), device="cpu", precision="float32", towers="text").encode_texts(TEXTS)
    tower = load_query_tower(str(path))
    assert [off(tower.encode_texts(TEXTS).features, wanted.features) < 1e-5 for _ in range(3)] == [True] * 3


@pytest.mark.slow
@pytest.mark.parametrize(("dim", "width", "layers"), [(512, 512, 12), (768, 768, 12)])
def test_features_are_those_of_torch_at_published_sizes(
    dim: int, width: int, layers: int, tmp_path: Path
) -> None:
    """ViT-B's and ViT-L's text towers, over many captions of all lengths."""
    config = ClipConfig(
        embed_dim=dim, image_resolution=32, vision_layers=1, vision_width=64, vision_patch_size=16,
        context_length=77, vocab_size=49408, transformer_width=width, transformer_heads=width // 64,
        transformer_layers=layers,
    )  # fmt: skip
    path = save_converted(random_state_dict(config), tmp_path / "large.safetensors", name="large")
    words = "a man and two dogs are running over the green hill while it rains in Überlingen".split()
    random = np.random.default_rng(0)
    texts = TEXTS + [" ".join(random.choice(words, size)) for size in range(1, 80, 5)]
    wanted = load_backbone(str(path), device="cpu", precision="float32", towers="text").encode_texts(texts)
    tower = load_query_tower(str(path))
    assert off(tower.encode_texts(texts).features, wanted.features) < 1e-5
    one_by_one = np.concatenate([tower.encode_texts([text]).features for text in texts])
    assert off(one_by_one, wanted.features) < 1e-5


def test_activations_are_torchs() -> None:
    values = np.concatenate([np.linspace(-9, 9, 40_001), [-1e4, 1e4, 0]]).astype(np.float32)
    theirs = {
        "quick_gelu": lambda tensor: tensor * torch.sigmoid(1.702 * tensor),
        "gelu": torch.nn.functional.gelu,
        "gelu_tanh": lambda tensor: torch.nn.functional.gelu(tensor, approximate="tanh"),
    }
    for name, activation in text_tower._ACTIVATIONS.items():
        wanted = theirs[name](torch.from_numpy(values).double()).numpy()
        assert np.abs(activation(values) - wanted).max() <= 2e-6, name


@given(
    num_rows=st.integers(1, FEW_ROWS + 5),
    num_inputs=st.sampled_from([8, 64, 512, 1152]),
    num_outputs=st.sampled_from([1, 7, 96, 1536]),
)
@settings(max_examples=20)
def test_a_product_in_strips_is_the_product(num_rows: int, num_inputs: int, num_outputs: int) -> None:
    random = np.random.default_rng(0)
    rows = random.standard_normal((num_rows, num_inputs)).astype(np.float32)
    weight = random.standard_normal((num_outputs, num_inputs)).astype(np.float32)
    np.testing.assert_allclose(product(rows, weight), rows @ weight.T, rtol=1e-4, atol=1e-4)


def test_what_is_no_such_tower_is_left_to_torch(tmp_path: Path) -> None:
    path = write_tiny_clip(tmp_path / "tiny.safetensors")
    whole = {key: value for key, value in TensorFile(path).mapped().items() if not key.startswith("visual.")}
    whole.pop("logit_scale")
    block = "transformer.resblocks.1"
    for change, why in (
        (
            {f"{block}.attn.q_norm.weight": np.ones(64, np.float32)},
            f"it has the tensor '{block}.attn.q_norm.weight'",
        ),
        ({f"{block}.ln_1.bias": None}, f"it lacks the tensor '{block}.ln_1.bias'"),
        ({f"{block}.ln_1.bias": np.ones(3, np.float32)}, f"its tensor '{block}.ln_1.bias' has another shape"),
        ({"ln_final.weight": None}, "its tensors are not those of a transformer of CLIP's kind"),
    ):
        changed = {key: value for key, value in (whole | change).items() if value is not None}
        with pytest.raises(NeedsTorch) as caught:
            TextTower(TextShape(heads=1), changed)
        assert str(caught.value) == why
    with pytest.raises(NeedsTorch, match="no multiple of 7 heads"):
        TextTower(TextShape(heads=7), whole)


def test_it_has_no_image_tower_and_wants_a_list(towers: tuple[Backbone, Backbone]) -> None:
    with pytest.raises(UsageError, match="only the text tower of .* is loaded"):
        towers[0].encode_images(np.zeros((1, 32, 32, 3), np.uint8))
    with pytest.raises(InputError, match="one text"):
        towers[0].encode_texts("a dog")


def test_a_named_device_is_left_to_torch(tmp_path: Path) -> None:
    path = write_tiny_clip(tmp_path / "tiny.safetensors")
    assert not isinstance(load_query_tower(str(path), device="cpu:0"), TextBackbone)


def test_a_file_that_cannot_be_mapped_is_left_to_torch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    path = write_tiny_clip(tmp_path / "tiny.safetensors")
    monkeypatch.setattr(PartFile, "mapped", lambda file: None)  # as where descriptors are scarce
    with caplog.at_level("INFO", "vtrcli.model.families"):
        assert not isinstance(load_query_tower(str(path)), TextBackbone)
    assert caplog.messages == [
        f"the text tower of {path} is computed by torch: {path} cannot be mapped into memory"
    ]


def test_a_file_with_tensors_of_an_unknown_kind_is_left_to_torch(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "odd.safetensors"
    with safe_open(write_tiny_clip(path), framework="pt") as file:
        told = file.metadata()
    save_file(load_file(path) | {"visual.odd": torch.ones(3, dtype=torch.complex64)}, path, told)
    with caplog.at_level("INFO", "vtrcli.model.families"):
        assert not isinstance(load_query_tower(str(path)), TextBackbone)
    assert "odd.safetensors is damaged" in caplog.text


def test_a_new_query_imports_no_torch(tmp_path: Path) -> None:
    path = write_tiny_clip(tmp_path / "tiny.safetensors")
    code = (
        "import sys; from vtrcli.model.families import load_query_tower; "
        f"print(load_query_tower({str(path)!r}).encode_texts(['a man']).features.shape, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "(1, 32) False"
