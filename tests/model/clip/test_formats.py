"""Weights in every format people have them in, and what else they pass instead."""

from __future__ import annotations

import json
import os
import pickle
import re
import struct
import warnings
import zipfile

import pytest
import torch
from safetensors.torch import save_file

from tests.model.tiny_clip import TINY_CONFIG, tiny_state_dict
from vtrcli.errors import WeightsError
from vtrcli.model.clip import formats
from vtrcli.model.clip.formats import read_state_dict
from vtrcli.model.clip.model import checked_state, content_sha256, empty_clip

_ALLOWED_AND_TO_DO = (
    "weights are OpenAI's TorchScript archive, a state dict, safetensors or a Hugging Face CLIP folder; "
    "get the file again"
)


def _same(state, expected):
    return state.keys() == expected.keys() and all(torch.equal(state[key], expected[key]) for key in expected)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_state_dict_of_torch_save_is_read(tmp_path, zipped):
    torch.save(tiny_state_dict(), tmp_path / "clip.pt", _use_new_zipfile_serialization=zipped)
    assert _same(read_state_dict(tmp_path / "clip.pt"), tiny_state_dict())


def test_safetensors_are_read_whatever_the_file_is_called(tmp_path):
    save_file(tiny_state_dict(), tmp_path / "clip.bin")
    assert _same(read_state_dict(tmp_path / "clip.bin"), tiny_state_dict())


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "the file is empty"),
        (b"\n<!DOCTYPE html><html><title>404</title>", "it is a web page"),
        (b"<html>", "it is a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid", "it is a Git LFS pointer, not the file itself"),
        (b"hello", "it is of no known format"),
        (b"\x80\x02}q\x00.", "the file is cut short or damaged"),
        (b"PK\x03\x04 cut", "the archive is cut short or damaged (File is not a zip file)"),
    ],
)
def test_what_is_no_weights_file_is_called_what_it_is(tmp_path, content, why):
    path = tmp_path / "clip.pt"
    path.write_bytes(content)
    with pytest.raises(WeightsError) as error:
        read_state_dict(path)
    assert str(error.value) == f"{path} cannot be used as weights: {why}; {_ALLOWED_AND_TO_DO}"


def test_a_missing_file_is_called_missing(tmp_path):
    with pytest.raises(WeightsError, match="cannot be used as weights: No such file or directory"):
        read_state_dict(tmp_path / "clip.pt")


class _Trap:
    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (str(self.mark),)


@pytest.mark.parametrize("writer", ["torch", "torch-old", "pickle"])
def test_a_pickle_that_would_run_code_is_refused_and_runs_nothing(tmp_path, writer):
    path, mark = tmp_path / "clip.pt", tmp_path / "mark"
    if writer == "pickle":
        path.write_bytes(pickle.dumps({"x": _Trap(mark)}))
    else:
        torch.save({"x": _Trap(mark)}, path, _use_new_zipfile_serialization=writer == "torch")
    with pytest.raises(WeightsError) as error:
        read_state_dict(path)
    assert str(error.value) == (
        f"{path} cannot be used as weights: it holds more than tensors, and loading it could run code; "
        f"{_ALLOWED_AND_TO_DO}"
    )
    assert not mark.exists()


@pytest.mark.parametrize("kept", [100, 10_000, -100])
def test_a_file_that_is_cut_short_is_damaged(tmp_path, kept):
    path = tmp_path / "clip.pt"
    for save in (torch.save, save_file):
        save(tiny_state_dict(), path)
        path.write_bytes(path.read_bytes()[:kept])
        with pytest.raises(WeightsError, match="damaged"):
            read_state_dict(path)


def test_a_checkpoint_of_other_things_is_no_state_dict(tmp_path):
    path = tmp_path / "clip.pt"
    for content in ([1, 2], {"epoch": 3}, torch.zeros(2)):
        torch.save(content, path)
        with pytest.raises(WeightsError, match="it is not a state dict"):
            read_state_dict(path)


# OpenAI's name -> theirs, as transformers 4.57's CLIPModel.save_pretrained writes them
_RENAMED = [
    (r"^visual\.proj$", "visual_projection.weight"),
    (r"^text_projection$", "text_projection.weight"),
    (r"^visual\.class_embedding$", "vision_model.embeddings.class_embedding"),
    (r"^visual\.positional_embedding$", "vision_model.embeddings.position_embedding.weight"),
    (r"^visual\.conv1\.", "vision_model.embeddings.patch_embedding."),
    (r"^visual\.ln_pre\.", "vision_model.pre_layrnorm."),
    (r"^visual\.ln_post\.", "vision_model.post_layernorm."),
    (r"^visual\.transformer\.resblocks\.", "vision_model.encoder.layers."),
    (r"^positional_embedding$", "text_model.embeddings.position_embedding.weight"),
    (r"^token_embedding\.", "text_model.embeddings.token_embedding."),
    (r"^ln_final\.", "text_model.final_layer_norm."),
    (r"^transformer\.resblocks\.", "text_model.encoder.layers."),
    (r"\.ln_(\d)\.", r".layer_norm\1."),
    (r"\.mlp\.c_fc\.", ".mlp.fc1."),
    (r"\.mlp\.c_proj\.", ".mlp.fc2."),
    (r"\.attn\.", ".self_attn."),
]
_CONFIG = {
    "model_type": "clip",
    "text_config": {"hidden_size": 64, "num_attention_heads": 1, "hidden_act": "quick_gelu"},
    "vision_config": {"hidden_size": 64, "num_attention_heads": 1},
}


def write_folder(folder, config=None):
    """The tiny model as transformers would save it."""
    tensors = {"text_model.embeddings.position_ids": torch.arange(77)[None]}
    for key, tensor in tiny_state_dict().items():
        name = key
        for pattern, replacement in _RENAMED:
            name = re.sub(pattern, replacement, name)
        if name.endswith("projection.weight"):
            tensor = tensor.t()
        if "in_proj" in name:
            kind = name.rpartition("_")[2]
            for part, third in zip("qkv", tensor.float().chunk(3), strict=True):
                tensors[name.replace(f"in_proj_{kind}", f"{part}_proj.{kind}")] = third.clone()
        else:
            tensors[name] = tensor.float().contiguous()
    folder.mkdir()
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(config or _CONFIG))
    return folder


def test_a_folder_has_the_identity_of_the_weights_it_was_made_from(tmp_path):
    state, _ = checked_state(read_state_dict(write_folder(tmp_path / "hf")), source="hf")
    assert content_sha256(state) == content_sha256(tiny_state_dict())


def _message(folder):
    with pytest.raises(WeightsError) as error:
        read_state_dict(folder)
    end = (
        "; a Hugging Face CLIP folder holds config.json (model_type clip) and model.safetensors, one of open_clip's "
        "an open_clip_config.json; "
        "download the whole folder again, or pass another model"
    )
    assert str(error.value).endswith(end)
    return error.value.came_in.removeprefix(f"{folder} cannot be used as weights: ")


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_folder_that_lacks_a_file_says_which(tmp_path, name):
    folder = write_folder(tmp_path / "hf")
    (folder / name).unlink()
    assert _message(folder) == f"it has no {name}"


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (
            {"vision_config": {"hidden_act": "gelu"}},
            "vision_config says hidden_act 'gelu', CLIP's is 'quick_gelu'",
        ),
        (
            {"text_config": {"hidden_size": 64, "num_attention_heads": 2}},
            "text_config says 2 heads for width 64, CLIP has one per 64",
        ),
        ({"text_config": [1]}, "config.json is damaged"),
    ],
)
def test_a_model_that_computes_differently_is_refused(tmp_path, change, why):
    assert _message(write_folder(tmp_path / "hf", _CONFIG | change)) == why


@pytest.mark.parametrize("content", ["", "[]", "{"])
def test_a_damaged_config_is_named(tmp_path, content):
    folder = write_folder(tmp_path / "hf")
    (folder / "config.json").write_text(content)
    assert _message(folder) == "config.json is damaged"


def test_damaged_weights_are_named(tmp_path):
    folder = write_folder(tmp_path / "hf")
    (folder / "model.safetensors").write_bytes(b"<html>")
    assert _message(folder).startswith("model.safetensors is damaged (")


@pytest.fixture(scope="module")
def archive_path(tmp_path_factory):
    """A traced CLIP with the extra numbers that OpenAI's archives hold, as torch.jit.save writes it."""
    model = empty_clip(TINY_CONFIG)
    model.load_state_dict(tiny_state_dict(), assign=True)
    model = model.float().requires_grad_(False)
    model.visual.proj.data = model.visual.proj.data.half().float().t().contiguous().t()  # not contiguous
    for name, value in (("input_resolution", 32), ("context_length", 77), ("vocab_size", 49408)):
        if name == "context_length" or hasattr(model, name):
            delattr(model, name)
        model.register_buffer(name, torch.tensor(value))
    path = tmp_path_factory.mktemp("jit") / "tiny.pt"
    tokens = torch.zeros(1, 77, dtype=torch.long)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.jit is on its way out, and tracing warns of constants
        torch.jit.save(torch.jit.trace(model, (torch.zeros(1, 3, 32, 32), tokens), check_trace=False), path)
    return path


def test_an_archive_gives_the_state_dict_of_the_traced_model(archive_path):
    expected = {key: tensor.float() for key, tensor in tiny_state_dict().items()}
    expected |= {
        "input_resolution": torch.tensor(32),
        "context_length": torch.tensor(77),
        "vocab_size": torch.tensor(49408),
    }
    state = read_state_dict(archive_path)
    assert state.keys() == expected.keys()
    for key, tensor in expected.items():
        assert state[key].dtype == tensor.dtype
        assert torch.equal(state[key], tensor), key


def _archive(path, data, *, compression=zipfile.ZIP_STORED, storage=b"\0" * 16):
    with zipfile.ZipFile(path, "w", compression) as file:
        file.writestr("x/constants.pkl", b"")
        file.writestr("x/data.pkl", data)
        file.writestr("x/data/0", storage)
    return path


def _refusal(path):
    with pytest.raises(WeightsError) as error:
        read_state_dict(path)
    message = str(error.value)
    allowed = "; a TorchScript archive of CLIP holds modules and tensors, nothing else is loaded; "
    assert message.endswith(f"{allowed}get the file from OpenAI again (`vtr models pull`)")
    return error.value.came_in.removeprefix(f"{path} cannot be used as weights: ")


@pytest.mark.parametrize("function", [os.mkdir, eval, getattr, torch.load])
def test_a_call_that_is_not_on_the_list_is_refused_and_not_made(tmp_path, function):
    class Trap:
        def __reduce__(self):
            return function, (str(tmp_path / "mark"),)

    path = _archive(tmp_path / "trap.pt", pickle.dumps(Trap(), protocol=2))
    assert _refusal(path).endswith("which could run code")
    assert not (tmp_path / "mark").exists()


def _text(value):
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def _numbers(values):
    return b"(" + b"".join(b"J" + struct.pack("<i", value) for value in values) + b"t"


def _module(value):
    """data.pkl of a module with one attribute, in the opcodes that torch.jit.save writes."""
    return b"\x80\x02c__torch__\nModule\n)\x81}" + _text("weight") + value + b"sb."


def _tensor(*, size=(2, 2), stride=(2, 1), offset=0, storage="FloatStorage", key="0"):
    storage_id = b"(" + _text("storage") + b"ctorch\n" + storage.encode() + b"\n" + _text(key) + _text("cpu")
    return (
        b"ctorch._utils\n_rebuild_tensor_v2\n("
        + storage_id
        + b"K\x04tQ"
        + (b"J" + struct.pack("<i", offset))
        + _numbers(size)
        + _numbers(stride)
        + b"\x89ccollections\nOrderedDict\n)RtR"
    )


def test_the_opcodes_of_these_tests_make_a_tensor(tmp_path):
    path = _archive(tmp_path / "a.pt", _module(_tensor()), storage=struct.pack("<4f", 1, 2, 3, 4))
    assert torch.equal(read_state_dict(path)["weight"], torch.tensor([[1.0, 2.0], [3.0, 4.0]]))


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (_module(_tensor(size=(1 << 20, 1 << 20), stride=(0, 0))), "a tensor is larger than its storage"),
        (_module(_tensor(offset=1)), "its data.pkl does not make sense"),
        (_module(_tensor(offset=-4)), "its data.pkl does not make sense"),
        (_module(_tensor(size=(-2, -2))), "its data.pkl does not make sense"),
        (_module(_tensor(key="1")), "its data.pkl does not make sense"),
        (_module(_tensor(key="../constants.pkl")), "its data.pkl does not make sense"),
        (_module(_tensor(storage="load")), "it asks for torch.load, which could run code"),
        (_module(_text("x") + b"Q"), "its data.pkl does not make sense"),
        (b"", "its data.pkl does not make sense"),
        (_module(b"")[:-1], "its data.pkl does not make sense"),
        # BUILD on a function: its attributes would change, had it any
        (
            b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n}" + _text("a") + b"K\x01sb.",
            "its data.pkl does not make sense",
        ),
    ],
)
def test_tensors_that_cannot_be_are_refused(tmp_path, data, why):
    assert _refusal(_archive(tmp_path / "a.pt", data)) == why


def test_a_zip_bomb_is_refused_before_it_unfolds(tmp_path):
    path = _archive(
        tmp_path / "bomb.pt", _module(_tensor()), compression=zipfile.ZIP_DEFLATED, storage=bytes(1 << 24)
    )
    assert path.stat().st_size < 1 << 18
    assert _refusal(path) == "it holds compressed tensors"


def test_sizes_over_the_limits_are_refused(tmp_path, monkeypatch):
    path = _archive(tmp_path / "a.pt", _module(_tensor()))
    monkeypatch.setattr(formats, "_MAX_STORAGE_BYTES", 10)
    assert _refusal(path) == "it unpacks to more than 0 GB"
    monkeypatch.setattr(formats, "_MAX_PICKLE_BYTES", 10)
    assert _refusal(path) == "it has no data.pkl of a sane size"


def test_modules_that_hold_each_other_in_a_ring_end(tmp_path):
    # a module whose attribute is itself: memo 0 is put and got
    ring = b"\x80\x02c__torch__\nModule\n)\x81q\x00}" + _text("me") + b"h\x00sb."
    assert _refusal(_archive(tmp_path / "a.pt", ring)) == "it has too many parts"


def test_an_archive_cut_in_the_middle_is_damaged(archive_path, tmp_path):
    path = tmp_path / "cut.pt"
    path.write_bytes(archive_path.read_bytes()[:1_000_000])
    with pytest.raises(WeightsError, match="the archive is cut short or damaged"):
        read_state_dict(path)


def test_a_changed_byte_is_found_by_the_checksum(archive_path, tmp_path):
    path = tmp_path / "changed.pt"
    content = bytearray(archive_path.read_bytes())
    content[1_000_000] ^= 1
    path.write_bytes(content)
    with pytest.raises(WeightsError, match="the archive is cut short or damaged"):
        read_state_dict(path)
