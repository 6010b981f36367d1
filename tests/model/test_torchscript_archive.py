"""TorchScript archives are read without torch.jit, and nothing in them runs."""

from __future__ import annotations

import os
import pickle
import struct
import warnings
import zipfile

import pytest
import torch

from tests.model.tiny_clip import TINY_CONFIG, tiny_state_dict
from vtrcli.errors import WeightsError
from vtrcli.model import torchscript_archive
from vtrcli.model.clip_loading import empty_clip
from vtrcli.model.weight_files import read_state_dict


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
    monkeypatch.setattr(torchscript_archive, "_MAX_STORAGE_BYTES", 10)
    assert _refusal(path) == "it unpacks to more than 0 GB"
    monkeypatch.setattr(torchscript_archive, "_MAX_PICKLE_BYTES", 10)
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
