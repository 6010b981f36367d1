"""Other people's weights files -> a state dict with OpenAI's names; nothing in them is ever executed.

Decides by content, not by file name: safetensors, a TorchScript archive (torchscript_archive.py), a state dict of
torch.save (weights only), or a Hugging Face folder (hugging_face.py). Whether the tensors are a CLIP's is
left to save_converted.py.
"""

from __future__ import annotations

import pickle
import warnings
import zipfile
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from vtrcli.errors import WeightsError
from vtrcli.model.hugging_face import read_folder
from vtrcli.model.torchscript_archive import is_torchscript, read_torchscript

_ALLOWED = "weights are OpenAI's TorchScript archive, a state dict, safetensors or a Hugging Face CLIP folder"


def read_state_dict(path: Path) -> dict[str, torch.Tensor]:
    """All tensors of a file or folder by name, on the CPU, mapped where the format allows. Raises WeightsError."""
    if path.is_dir():
        return read_folder(path)
    head = _head(path)
    if head[8:9] == b"{":
        try:
            return load_file(path)
        except SafetensorError as error:
            raise _unreadable(path, f"damaged safetensors ({error})") from error
    if head.startswith(b"PK"):
        return _read_zip(path)
    if head.startswith(b"\x80"):
        return _read_pickled(path)
    raise _unreadable(path, _describe(head))


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(512)
    except OSError as error:
        raise _unreadable(path, error.strerror or str(error)) from error


def _describe(head: bytes) -> str:
    text = head.lstrip().lower()
    if not head:
        return "the file is empty"
    if text.startswith((b"<!doctype", b"<html", b"<?xml")):
        return "it is a web page"
    if text.startswith(b"version https://git-lfs"):
        return "it is a Git LFS pointer, not the file itself"
    return "it is of no known format"


def _read_zip(path: Path) -> dict[str, torch.Tensor]:
    try:
        with zipfile.ZipFile(path) as archive:
            if is_torchscript(archive):
                return read_torchscript(archive, source=str(path))
    except zipfile.BadZipFile as error:
        raise _unreadable(path, f"the archive is cut short or damaged ({error})") from error
    return _read_pickled(path)


def _read_pickled(path: Path) -> dict[str, torch.Tensor]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # about odd pickles; the errors below say it
            state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise _unreadable(path, "it holds more than tensors, and loading it could run code") from error
    except (RuntimeError, EOFError, ValueError, KeyError, OSError) as error:
        raise _unreadable(path, "the file is cut short or damaged") from error
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise _unreadable(path, "it is not a state dict (name -> tensor)")
    return state


def _unreadable(path: Path, why: str) -> WeightsError:
    return WeightsError(
        f"{path} cannot be used as weights: {why}", allowed=_ALLOWED, to_do="get the file again"
    )
