"""Weights in every format people have them in, and what else they pass instead."""

from __future__ import annotations

import os
import pickle

import pytest
import torch
from safetensors.torch import save_file

from tests.model.tiny_clip import tiny_state_dict
from vtrcli.errors import WeightsError
from vtrcli.model.weight_files import read_state_dict

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
