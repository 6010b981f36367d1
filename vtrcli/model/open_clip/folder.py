"""A folder in open_clip's layout: what its config and the header of its weights say, and its identity (no torch here).

`open_clip_config.json` holds `model_cfg`, the architecture, and `preprocess_cfg`; the weights lie beside it as
safetensors. Everything that must hold for the features to be open_clip's own is checked here, before anything is built:
a model is never run with preprocessing that is not its own, and nothing is looked up in the network.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np

from vtrcli.errors import WeightsError
from vtrcli.files import write_whole
from vtrcli.preprocessing import Interpolation, Preprocessing
from vtrcli.store.config import ENGLISH, BackboneInfo, Description

INSTALL = "python -m pip install 'vtrcli[open_clip]'"
CONFIG_NAME = "open_clip_config.json"
# Those that open_clip itself would take, in its order.
WEIGHTS_NAMES = ("open_clip_model.safetensors", "open_clip_pytorch_model.safetensors", "model.safetensors")
PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".npz")
# Of a tokenizer of transformers: all that it does to a text, and, in the others, which of its tokens pad.
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")
_LAYOUT = f"a folder in open_clip's layout holds {CONFIG_NAME} (model_cfg and preprocess_cfg) and safetensors"
_DTYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}  # numpy has no bfloat16
_WHOLE_NUMBERS = {"I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1", "U8": "u1", "BOOL": "?"}
_MAX_HEADER_BYTES = 100_000_000  # safetensors' own limit
_CACHE_VERSION = 1
MANY_LANGUAGES = "many"
_LARGE_VOCABULARY = 100_000  # tokens


def unusable(folder: Path, why: str, *, to_do: str = "") -> WeightsError:
    """The error for a folder that cannot be used."""
    return WeightsError(
        f"{folder} cannot be used as weights: {why}",
        allowed=_LAYOUT,
        to_do=to_do or "download the whole folder again, or pass another model",
    )


def is_open_clip(path: Path) -> bool:
    """Whether it is such a folder, whole or not, or the weights in one: alone they would lose their preprocessing."""
    if path.is_dir():
        return any((path / name).is_file() for name in (CONFIG_NAME, *WEIGHTS_NAMES[:2]))
    return path.is_file() and (path.parent / CONFIG_NAME).is_file()


@dataclass(frozen=True)
class ModelFolder:
    """One folder; its parts are read, and refused, when they are asked for. Raises WeightsError everywhere."""

    path: Path

    @cached_property
    def config(self) -> dict[str, Any]:
        """The whole of the config, with a `model_cfg` that can be built from what lies here."""
        path = self.path / CONFIG_NAME
        if not path.is_file():
            raise unusable(self.path, f"it has no {CONFIG_NAME}")
        try:
            config = json.loads(path.read_text(encoding="utf-8"))
            model = config["model_cfg"]
            int(model["embed_dim"])
            for part in ("vision_cfg", "text_cfg"):
                model[part].items()
        except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise unusable(
                self.path, f"{CONFIG_NAME} is damaged, or lacks embed_dim, vision_cfg or text_cfg"
            ) from error
        why = _not_supported(model)
        if why:
            raise unusable(self.path, why, to_do="take another model: `vtr models list` shows some")
        return cast(dict[str, Any], config)

    @property
    def architecture(self) -> dict[str, Any]:
        """`model_cfg`."""
        return cast(dict[str, Any], self.config["model_cfg"])

    @property
    def text(self) -> dict[str, Any]:
        """`text_cfg`."""
        return cast(dict[str, Any], self.architecture["text_cfg"])

    @property
    def context_length(self) -> int:
        """Tokens of a text; open_clip's own default is CLIP's."""
        return int(self.text.get("context_length", 77))

    @property
    def languages(self) -> str:
        """Of its texts, as far as the vocabulary tells: 32,000 or 49,408 tokens are made of English, those of many
        languages are 100,000 and more."""
        is_large = int(self.text.get("vocab_size", 49408)) >= _LARGE_VOCABULARY
        return MANY_LANGUAGES if is_large else ENGLISH

    @property
    def is_causal(self) -> bool:
        """Whether what stands behind a text's end changes nothing: attention looks back, the feature is read there."""
        told = self.text
        looks_back = not told.get("no_causal_mask") and not told.get("embed_cls")
        return looks_back and told.get("pool_type", "argmax") == "argmax"

    @property
    def preprocessing(self) -> Preprocessing:
        """`preprocess_cfg` with the size of the image tower, as open_clip takes them.

        mean and std must be told: its defaults are CLIP's, and silently wrong for most other models.
        """
        told = self.config.get("preprocess_cfg")
        told = told if isinstance(told, dict) else {}
        resize, method = told.get("resize_mode") or "shortest", told.get("interpolation") or "bicubic"
        try:
            size = self.architecture["vision_cfg"].get("image_size", 224)
            height, width = (size, size) if isinstance(size, int) else map(int, size)
            mean, std = (tuple(float(value) for value in told[key]) for key in ("mean", "std"))
            if not (len(mean) == len(std) == 3 and min(std) > 0 and min(height, width) > 0):
                raise ValueError(f"mean {mean}, std {std}, size {size}")
            if told.get("mode", "RGB") != "RGB" or resize not in ("shortest", "squash"):
                raise ValueError(f"mode {told.get('mode')}, resize_mode {resize}")
            if method not in ("bicubic", "bilinear"):
                raise ValueError(f"interpolation {method}")
        except KeyError as error:
            raise unusable(self.path, f"preprocess_cfg tells no {error}") from error
        except (ValueError, TypeError) as error:
            raise unusable(self.path, f"its preprocessing is not known here ({error})") from error
        return Preprocessing(
            height=height,
            width=width,
            resize="squash" if resize == "squash" else "crop",
            interpolation=cast(Interpolation, method),
            mean=mean,
            std=std,
        )

    @cached_property
    def weights(self) -> Path:
        """The safetensors file that open_clip itself would take."""
        for name in WEIGHTS_NAMES:
            if (self.path / name).is_file():
                return self.path / name
        found = sorted(self.path.glob("*.safetensors"))
        if len(found) == 1:
            return found[0]
        if found:
            raise unusable(self.path, f"it has several files of weights, none of them {WEIGHTS_NAMES[0]}")
        pickled = sorted(path.name for path in self.path.iterdir() if path.suffix in PICKLED)
        if pickled:
            raise unusable(
                self.path,
                f"its weights are pickled ({pickled[0]}), and loading them could run code",
                to_do=f"save the state dict as {WEIGHTS_NAMES[0]} with the package safetensors",
            )
        raise unusable(self.path, "it has no weights")

    @property
    def text_prefix(self) -> str:
        """What the names of the text tower's tensors begin with in its architecture."""
        return "text." if self.architecture.get("custom_text") else ""

    @property
    def tokenizer_files(self) -> list[Path]:
        """Those of a tokenizer of transformers; none where the model reads open_clip's own byte-pair tokens."""
        if not self.text.get("hf_tokenizer_name"):
            return []
        found = [self.path / name for name in TOKENIZER_FILES if (self.path / name).is_file()]
        if not found or found[0].name != TOKENIZER_FILES[0]:
            raise unusable(
                self.path,
                f"it has no tokenizer.json, and its texts need the tokenizer of {self.text['hf_tokenizer_name']}",
                to_do="put that file into the folder (transformers' save_pretrained writes it)",
            )
        return found

    @property
    def tokenizer_config(self) -> dict[str, Any]:
        """What stands beside tokenizer.json about it."""
        told: dict[str, Any] = {}
        for path in reversed(self.tokenizer_files[1:]):  # tokenizer_config.json wins
            try:
                told |= json.loads(path.read_text(encoding="utf-8"))
            except (OSError, ValueError, TypeError, RecursionError) as error:
                raise unusable(self.path, f"{path.name} is damaged") from error
        return told

    def describe(self, *, name: str, cache: Path) -> Description:
        """Identity, sizes and scales; the weights are read once, and what was found lies in `cache` from then on."""
        preprocessing, context_length = self.preprocessing, self.context_length
        files = [self.path / CONFIG_NAME, self.weights, *self.tokenizer_files]
        stats = [(str(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns) for path in files]
        kept = cache / f"{hashlib.sha256(repr((_CACHE_VERSION, stats)).encode()).hexdigest()}.json"
        try:
            found = json.loads(kept.read_text(encoding="utf-8"))
            found = {key: found[key] for key in ("sha256", "logit_scale", "logit_bias")}
        except (OSError, ValueError, TypeError, KeyError):
            found = self.identity()
            with contextlib.suppress(
                OSError, WeightsError
            ):  # a cache that cannot be written costs time alone
                kept.parent.mkdir(parents=True, exist_ok=True)
                write_whole(kept, json.dumps(found).encode(), error=WeightsError)
        height, width = preprocessing.height, preprocessing.width
        info = BackboneInfo(
            name=name,
            dim=int(self.architecture["embed_dim"]),
            input_size=height if height == width else (height, width),
            context_length=context_length,
            languages=self.languages,
            **found,
        )
        return Description(info, preprocessing)

    def identity(self) -> dict[str, Any]:
        """`sha256` over all tensors and, as canonical JSON, over what is done to pictures and texts; the scales.

        A tensor counts with its name, its shape and its values as float32, so that the same weights have the same
        identity in another file. NaN and infinite values are refused.
        """
        digest = hashlib.sha256()
        scales: dict[str, float] = {}
        for key, values in self._tensors():
            if values.dtype.kind == "f" and not np.isfinite(values).all():
                raise WeightsError(
                    f"{self.weights} has values in '{key}' that are NaN or infinite",
                    allowed="all weights are finite",
                    to_do="get the file again, or take an earlier checkpoint",
                )
            digest.update(f"{key}{list(values.shape)}".encode())
            digest.update(np.ascontiguousarray(values).data)
            if key in ("logit_scale", "logit_bias") and values.size == 1:
                scales[key] = float(values.reshape(-1)[0])
        if "logit_scale" not in scales:
            raise unusable(self.path, f"{self.weights.name} has no tensor 'logit_scale'")
        told = {
            "architecture": self.architecture,
            "preprocessing": [
                self.preprocessing.height,
                self.preprocessing.width,
                self.preprocessing.to_json(),
            ],
            "context_length": self.context_length,
            "tokenizer": {
                path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in self.tokenizer_files
            },
        }
        digest.update(json.dumps(told, sort_keys=True, separators=(",", ":")).encode())
        return {
            "sha256": digest.hexdigest(),
            "logit_scale": math.exp(scales["logit_scale"]),
            "logit_bias": scales.get("logit_bias"),
        }

    def _tensors(self) -> Iterator[tuple[str, np.ndarray]]:
        """Name and values of every tensor in the order of the names; floating-point ones as float32."""
        try:
            with open(self.weights, "rb") as file:
                length = int.from_bytes(file.read(8), "little")
                if length > _MAX_HEADER_BYTES:
                    raise ValueError("it is no safetensors file")
                header = json.loads(file.read(length))
                header.pop("__metadata__", None)
                for key in sorted(header):
                    kind, (start, end) = header[key]["dtype"], header[key]["data_offsets"]
                    file.seek(8 + length + start)
                    values = np.frombuffer(file.read(end - start), {**_DTYPES, **_WHOLE_NUMBERS}[kind])
                    if kind == "BF16":
                        values = (values.astype("<u4") << 16).view("<f4")
                    elif kind in _DTYPES:
                        values = values.astype("<f4", copy=False)
                    yield key, values.reshape(header[key]["shape"])
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise unusable(self.path, f"{self.weights.name} is damaged ({error})") from error


def _not_supported(model: dict[str, Any]) -> str:
    """What of an architecture cannot be built off line and read as one feature for a picture and one for a text."""
    vision, text = model["vision_cfg"], model["text_cfg"]
    if "multimodal_cfg" in model:
        return "it is a CoCa, which has a third tower"
    if text.get("hf_model_name"):
        return f"its text tower is transformers' {text['hf_model_name']}, not open_clip's own"
    if text.get("tokenizer_mode"):
        return f"its tokenizer_mode {text['tokenizer_mode']!r} is not read here"
    kwargs = text.get("tokenizer_kwargs") or {}
    if kwargs.get("reduction_mask"):
        return "its tokenizer drops words at random (reduction_mask)"
    unknown = sorted(kwargs.keys() - {"clean", "strip_sep_token"}) if text.get("hf_tokenizer_name") else []
    if unknown:
        return f"its tokenizer_kwargs {unknown[0]!r} is not read here"
    if ":" in str(vision.get("timm_model_name") or "") or "/" in str(vision.get("timm_model_name") or ""):
        return f"its image tower {vision['timm_model_name']!r} is no model of timm's own"
    return ""
