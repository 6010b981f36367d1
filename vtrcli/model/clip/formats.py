"""Other people's weights files -> a state dict with OpenAI's names; nothing in them is ever executed.

Decides by content, not by file name: safetensors, a TorchScript archive, a state dict of torch.save (weights only), or
a Hugging Face folder. Whether the tensors are a CLIP's is left to `model.checked_state`.

`torch.jit.load` would compile and could run an archive's code. Here the zip file is read, and its data.pkl
goes through an unpickler that knows four functions, all inert: objects become attribute tables, tensors
become views of the archive's raw storages. Everything else in the pickle is refused.
"""

from __future__ import annotations

import json
import pickle
import re
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from vtrcli.errors import WeightsError
from vtrcli.model.clip.converted import HUGGING_FACE_FILES

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


_CONFIG, _WEIGHTS = HUGGING_FACE_FILES

_NAMES = {
    "logit_scale": "logit_scale",
    "text_model.embeddings.token_embedding.weight": "token_embedding.weight",
    "text_model.embeddings.position_embedding.weight": "positional_embedding",
    "vision_model.embeddings.class_embedding": "visual.class_embedding",
    "vision_model.embeddings.patch_embedding.weight": "visual.conv1.weight",
    "vision_model.embeddings.position_embedding.weight": "visual.positional_embedding",
}
_TRANSPOSED = {"text_projection.weight": "text_projection", "visual_projection.weight": "visual.proj"}
_MODULES = {
    "text_model.final_layer_norm": "ln_final",
    "vision_model.pre_layrnorm": "visual.ln_pre",  # their spelling
    "vision_model.post_layernorm": "visual.ln_post",
}
_TOWERS = {"text_model": "transformer", "vision_model": "visual.transformer"}
_BLOCK_PARTS = {
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
    "self_attn.out_proj": "attn.out_proj",
}
# k and v are joined when their q comes; positions are no weights.
_SKIPPED = (".k_proj.weight", ".k_proj.bias", ".v_proj.weight", ".v_proj.bias", ".position_ids")
_BLOCK = re.compile(r"(text_model|vision_model)\.encoder\.layers\.(\d+)\.(.+)\.(weight|bias)")


def read_folder(folder: Path) -> dict[str, torch.Tensor]:
    """The state dict of a Hugging Face CLIP folder (config.json + model.safetensors). Raises WeightsError."""
    if (folder / _SENTENCES).is_file():
        inner = folder / "0_CLIPModel"
        has_clip = (inner / _CONFIG).is_file()
        raise _unusable(
            folder,
            "it is in the layout of sentence-transformers",
            to_do=f"pass its CLIP folder, {inner}" if has_clip else _ELSEWHERE,
        )
    if not (folder / _CONFIG).is_file():
        raise _unusable(folder, f"it has no {_CONFIG}")
    try:
        _check_config(json.loads((folder / _CONFIG).read_text(encoding="utf-8")), folder)
        if not (folder / _WEIGHTS).is_file():
            pickled = sorted(path.name for path in folder.glob("pytorch_model*.bin"))
            raise _unusable(
                folder,
                f"it has no {_WEIGHTS}" + (f", and {pickled[0]} is pickled" if pickled else ""),
                to_do="save the model again as safetensors (save_pretrained writes them)" if pickled else "",
            )
        return openai_names(load_file(folder / _WEIGHTS))
    except (ValueError, AttributeError) as error:  # not JSON, or JSON of another build
        raise _unusable(folder, f"{_CONFIG} is damaged") from error
    except (SafetensorError, OSError, RuntimeError) as error:
        raise _unusable(folder, f"{_WEIGHTS} is damaged ({error})") from error


def openai_names(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The same numbers under OpenAI's names: q, k, v joined, the projections transposed; unknown names are kept for the
    check that follows."""
    state: dict[str, torch.Tensor] = {}
    for name, tensor in tensors.items():
        module, _, kind = name.rpartition(".")
        block = _BLOCK.fullmatch(name)
        if name.endswith(_SKIPPED):
            continue
        if name in _TRANSPOSED:
            state[_TRANSPOSED[name]] = tensor.t()
        elif block and block[3] == "self_attn.q_proj":
            parts = [tensors.get(name.replace(".q_proj.", f".{part}_proj.")) for part in "qkv"]
            present = [part for part in parts if part is not None]
            state[f"{_TOWERS[block[1]]}.resblocks.{block[2]}.attn.in_proj_{kind}"] = torch.cat(present)
        elif block and block[3] in _BLOCK_PARTS:
            state[f"{_TOWERS[block[1]]}.resblocks.{block[2]}.{_BLOCK_PARTS[block[3]]}.{kind}"] = tensor
        elif module in _MODULES:
            state[f"{_MODULES[module]}.{kind}"] = tensor
        else:
            state[_NAMES.get(name, name)] = tensor
    return state


def _check_config(config: Any, folder: Path) -> None:
    """Refuse what the shapes cannot show: another activation or number of heads. The defaults are theirs."""
    model_type = config.get("model_type", "clip")
    if model_type != "clip":
        raise _unusable(folder, f"its model_type is {model_type!r}", to_do=_ELSEWHERE)
    for part, width, heads in (("text_config", 512, 8), ("vision_config", 768, 12)):
        values = config.get(part) or {}
        activation = values.get("hidden_act", "quick_gelu")
        if activation != "quick_gelu":
            raise _unusable(folder, f"{part} says hidden_act {activation!r}, CLIP's is 'quick_gelu'")
        width, heads = values.get("hidden_size", width), values.get("num_attention_heads", heads)
        if heads * 64 != width:
            raise _unusable(folder, f"{part} says {heads} heads for width {width}, CLIP has one per 64")


_SENTENCES = "modules.json"
_ELSEWHERE = "take the model in open_clip's layout: `vtr models list` names some, SigLIP's among them"


def _unusable(folder: Path, why: str, *, to_do: str = "") -> WeightsError:
    return WeightsError(
        f"{folder} cannot be used as weights: {why}",
        allowed=f"a Hugging Face CLIP folder holds {_CONFIG} (model_type clip) and {_WEIGHTS}, one of open_clip's "
        "an open_clip_config.json",
        to_do=to_do or "download the whole folder again, or pass another model",
    )


# OpenAI's largest archive is 1.3 GB with a 2 MB pickle. Storages lie uncompressed in the archive, so a small
# file cannot unfold into a large one.
_MAX_STORAGE_BYTES = 8 << 30
_MAX_PICKLE_BYTES = 64 << 20
_MAX_NODES = 50_000

# What the unpickler raises for bytes that are no pickle, or one that no module could have made.
_NONSENSE = (
    pickle.UnpicklingError,
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    RuntimeError,
    TypeError,
    ValueError,
)

_STORAGE_DTYPES = {
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}


def is_torchscript(archive: zipfile.ZipFile) -> bool:
    """True for an archive of torch.jit.save; torch.save writes no constants.pkl."""
    return any(name.endswith("/constants.pkl") for name in archive.namelist())


def read_torchscript(archive: zipfile.ZipFile, *, source: str) -> dict[str, torch.Tensor]:
    """Every tensor attribute by its dotted name (also such as are not parameters). Raises WeightsError."""
    infos = archive.infolist()
    pickles = [info for info in infos if info.filename.endswith("/data.pkl")]
    if len(pickles) != 1 or pickles[0].file_size > _MAX_PICKLE_BYTES:
        raise _refused(source, "it has no data.pkl of a sane size")
    if sum(info.file_size for info in infos) > _MAX_STORAGE_BYTES:
        raise _refused(source, f"it unpacks to more than {_MAX_STORAGE_BYTES >> 30} GB")
    prefix = pickles[0].filename.removesuffix("data.pkl")
    try:
        with archive.open(pickles[0]) as file:
            root = _Unpickler(file, archive=archive, prefix=prefix).load()
        return dict(_tensors(root))
    except _Refused as error:
        raise _refused(source, str(error)) from error
    except _NONSENSE as error:
        raise _refused(source, "its data.pkl does not make sense") from error


class _Refused(Exception):
    """What the archive asks for is not on the list."""


class _Node:
    """A module of the archive: only its attributes are kept."""

    __slots__ = ("attributes",)

    def __setstate__(self, state: Any) -> None:
        self.attributes = state


class _Call:
    """One of the four functions a pickle may name. No `__dict__`, so that the pickle cannot change it."""

    __slots__ = ()

    def __call__(self, *arguments: Any) -> Any:
        return arguments[0] if arguments else None


class _RebuildTensor(_Call):
    __slots__ = ()

    def __call__(self, *arguments: Any) -> torch.Tensor:
        storage, offset, size, stride = arguments[:4]
        count = 1
        for length in size:
            count *= length
        if not isinstance(storage, torch.Tensor) or count > storage.numel():
            raise _Refused("a tensor is larger than its storage")
        return storage.as_strided(size, stride, offset)  # torch checks the bounds


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: Any, *, archive: zipfile.ZipFile, prefix: str) -> None:
        super().__init__(file)
        self._archive = archive
        self._prefix = prefix
        self._storages: dict[str, torch.Tensor] = {}

    def find_class(self, module: str, name: str) -> Any:
        if module.startswith("__torch__"):
            return type("Node", (_Node,), {"__slots__": ()})
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _RebuildTensor()
        if (module, name) == ("collections", "OrderedDict") or module == "torch.jit._pickle":
            return _Call()
        if module == "torch" and name in _STORAGE_DTYPES:
            return name
        raise _Refused(f"it asks for {module}.{name}, which could run code")

    def persistent_load(self, pid: Any) -> torch.Tensor:
        kind, storage_type, key, _, _ = pid
        if kind != "storage" or storage_type not in _STORAGE_DTYPES:
            raise _Refused(f"it asks for a {kind} {storage_type}")
        if key not in self._storages:
            self._storages[key] = self._read_storage(str(key), _STORAGE_DTYPES[storage_type])
        return self._storages[key]

    def _read_storage(self, key: str, dtype: torch.dtype) -> torch.Tensor:
        info = self._archive.getinfo(f"{self._prefix}data/{key}")
        if info.compress_type != zipfile.ZIP_STORED:
            raise _Refused("it holds compressed tensors")
        buffer = bytearray(self._archive.read(info))  # also compares the checksum
        if not buffer:
            return torch.empty(0, dtype=dtype)
        return torch.frombuffer(buffer, dtype=dtype)


def _tensors(root: Any) -> Iterator[tuple[str, torch.Tensor]]:
    """(dotted name, tensor) of every tensor in the tree of modules."""
    stack = [("", root)]
    num_seen = 0
    while stack:
        prefix, node = stack.pop()
        attributes = node.attributes if isinstance(node, _Node) else {}
        for name, value in attributes.items():
            num_seen += 1
            if num_seen > _MAX_NODES:
                raise _Refused("it has too many parts")
            if isinstance(value, torch.Tensor):
                yield f"{prefix}{name}", value
            elif isinstance(value, _Node):
                stack.append((f"{prefix}{name}.", value))


def _refused(source: str, why: str) -> WeightsError:
    return WeightsError(
        f"{source} cannot be used as weights: {why}",
        allowed="a TorchScript archive of CLIP holds modules and tensors, nothing else is loaded",
        to_do="get the file from OpenAI again (`vtr models pull`)",
    )
