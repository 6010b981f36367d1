"""The towers of a folder in open_clip's layout, built by open_clip, and texts as each model was trained to read them.

This module imports torch at the top and is therefore imported inside functions only. A text tower needs two files of
open_clip and not the package, whose import of torchvision and timm takes longer than torch's: a query starts sooner.
"""

from __future__ import annotations

import contextlib
import copy
import importlib.metadata
import importlib.util
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from types import ModuleType
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch.overrides import TorchFunctionMode

from vtrcli.errors import InputError, UsageError, WeightsError
from vtrcli.model.backbone import (
    TextFeatures,
    Towers,
    encode_rows,
    pixels_on,
    require_finite,
    require_frames,
    scaled_pixels,
    torch_dtype,
)
from vtrcli.model.open_clip.folder import INSTALL, ModelFolder, unusable
from vtrcli.store.config import Description

# Keys of a `text_cfg` that are of the tokenizer, of transformers' towers, or go in another way.
_NOT_OF_THE_TEXT_TOWER = frozenset(
    "hf_tokenizer_name tokenizer_mode tokenizer_kwargs hf_model_name hf_model_pretrained hf_proj_type hf_pooler_type"
    " final_ln_after_pool act_kwargs norm_kwargs".split()
)
_SCALES = ("logit_scale", "logit_bias")


def load(
    folder: ModelFolder,
    described: Description,
    read_texts: Callable[[ModelFolder], Any],
    *,
    device: str,
    precision: str,
    towers: Towers,
) -> OpenClipBackbone:
    """One or both towers; of the weights only the tensors of these are read; `read_texts` is tokens.TextReader.

    Raises WeightsError.
    """
    require_open_clip(whole=towers != "text")
    if towers == "image":  # told before frames are extracted that none could search
        if not read_tower(folder, "text"):
            raise unusable(folder.path, f"{folder.weights.name} holds no text tower")
        read_texts(folder)
    dtype = torch_dtype(precision)
    image, text = (
        None
        if towers == other
        else ready_tower(folder, tower, read_tower(folder, tower), device=device, dtype=dtype)
        for tower, other in (("image", "text"), ("text", "image"))
    )
    return OpenClipBackbone(
        image,
        text,
        read_texts(folder) if text is not None else None,
        described,
        device=device,
        precision=precision,
    )


def require_open_clip(*, whole: bool) -> None:
    """Raises WeightsError where it is not installed, or, the whole of it, not with a torchvision that fits torch."""
    if importlib.util.find_spec("open_clip") is None:
        raise WeightsError(
            "the package open_clip is not installed",
            allowed="models in open_clip's layout need it",
            to_do=f"run: {INSTALL}",
        )
    if not whole:
        return
    try:
        import open_clip  # noqa: F401
    except (ImportError, RuntimeError) as error:
        release, _, build = torch.__version__.partition("+")
        major, minor = release.split(".")[:2]
        fitting = f"torchvision==0.{int(minor) + 15}.*" if major == "2" else "torchvision"
        index = f" --index-url https://download.pytorch.org/whl/{build}" if build else ""
        raise WeightsError(
            f"open_clip cannot be imported ({str(error).partition(chr(10))[0]})",
            allowed=f"torch {torch.__version__} needs {fitting} of the same build",
            to_do=f"run: python -m pip install --force-reinstall --no-deps '{fitting}'{index}",
        ) from error


@cache
def open_clip_file(name: str) -> ModuleType:
    """`open_clip.transformer` without the rest of the package.

    They run under a package name of their own; `utils`, which asks for torchvision, is stood in for by what they use.
    """
    package = "vtrcli._open_clip"
    if package not in sys.modules:
        spec = importlib.util.find_spec("open_clip")
        parent, utils = ModuleType(package), ModuleType(f"{package}.utils")
        parent.__path__ = list(spec.submodule_search_locations or []) if spec else []
        vars(utils).update(
            to_2tuple=lambda value: value if isinstance(value, tuple) else (value, value),
            feature_take_indices=None,  # for intermediate features, which nobody here asks for
        )
        sys.modules[package], sys.modules[utils.__name__] = parent, utils
    return importlib.import_module(f"{package}.{name}")


def _build_text_tower(embed_dim: int, told: dict[str, Any], quick_gelu: bool) -> torch.nn.Module:
    """As `open_clip.model._build_text_tower`, from a `text_cfg`."""
    parts = open_clip_file("transformer")
    activation = parts.QuickGELU if quick_gelu else torch.nn.GELU
    norm = parts.LayerNorm
    if told.get("act_kwargs") is not None:
        activation = partial(activation, **told["act_kwargs"])
    if told.get("norm_kwargs"):
        norm = partial(norm, **told["norm_kwargs"])
    sizes = {key: value for key, value in told.items() if key not in _NOT_OF_THE_TEXT_TOWER}
    tower: torch.nn.Module = parts.TextTransformer(
        **sizes, output_dim=embed_dim, act_layer=activation, norm_layer=norm
    )
    return tower


class _WithoutInitialisation(TorchFunctionMode):
    """Parameters stay as they were allocated, since all are read from the file: seconds less for a large tower."""

    _IN_PLACE = frozenset(
        getattr(torch.Tensor, name)
        for name in ("uniform_", "normal_", "fill_", "zero_", "erfinv_", "mul_", "add_", "clamp_", "trunc_")
    )

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        target = args[0] if args else kwargs.get("tensor")
        is_fill = func in self._IN_PLACE or getattr(func, "__module__", "") == "torch.nn.init"
        if is_fill and isinstance(target, torch.nn.Parameter):
            return target
        return func(*args, **kwargs)


def empty_tower(folder: ModelFolder, tower: str, *, initialised: bool = False) -> torch.nn.Module:
    """open_clip's module of one tower as its `create_model` would build it; its parameters are as they were allocated,
    or `initialised`, as training begins."""
    told = copy.deepcopy(folder.architecture)
    told["vision_cfg"]["timm_model_pretrained"] = False  # else timm would ask the network
    build: Callable[..., torch.nn.Module] = _build_text_tower
    if tower == "image":
        from open_clip.model import _build_vision_tower

        build = _build_vision_tower
    try:
        with contextlib.nullcontext() if initialised else _WithoutInitialisation():
            return build(
                told["embed_dim"],
                told["vision_cfg" if tower == "image" else "text_cfg"],
                bool(told.get("quick_gelu", False)),
            )
    except (TypeError, ValueError, RuntimeError, KeyError, AssertionError) as error:
        version = importlib.metadata.version("open_clip_torch")
        raise unusable(
            folder.path,
            f"open_clip {version} cannot build its {tower} tower ({error})",
            to_do="check model_cfg, or update open_clip_torch and timm",
        ) from error


def fill_tower(module: Any, state: Mapping[str, torch.Tensor], folder: ModelFolder, tower: str) -> Any:
    """The module with these weights, which it shares. Raises WeightsError where they are not its own."""
    expected = module.state_dict()
    if not any(key in expected for key in state):
        raise unusable(folder.path, f"{folder.weights.name} holds no {tower} tower of this architecture")
    missing, unknown = sorted(expected.keys() - state.keys()), sorted(state.keys() - expected.keys())
    others = [key for key in state.keys() & expected.keys() if state[key].shape != expected[key].shape]
    if missing or unknown or others:
        odd = f"no {missing[0]!r}" if missing else f"an unknown {unknown[0]!r}" if unknown else ""
        odd = (
            odd
            or f"{others[0]!r} of shape {list(state[others[0]].shape)}, not {list(expected[others[0]].shape)}"
        )
        raise unusable(
            folder.path, f"{folder.weights.name} is of another architecture: its {tower} tower has {odd}"
        )
    module.load_state_dict(state, assign=True)
    return module


def ready_tower(
    folder: ModelFolder,
    tower: str,
    state: Mapping[str, torch.Tensor],
    *,
    device: str,
    dtype: torch.dtype,
) -> Any:
    """One tower with these weights, for encoding."""
    module: Any = fill_tower(empty_tower(folder, tower), state, folder, tower)
    module = module.eval().requires_grad_(False)
    if tower == "image" and folder.architecture["vision_cfg"].get("timm_model_name"):
        from timm.utils.model import reparameterize_model

        # MobileCLIP's training branches become one convolution each: the same numbers, several times faster.
        trunk: Any = module.trunk.float()
        module.trunk = reparameterize_model(trunk, inplace=True)
    if tower == "image":
        return module.to(device=device, dtype=dtype)
    # Rows of the words are looked up, exactly in any format: what may be most of a file (SigLIP 2 has 256,000 words) is
    # neither read nor cast.
    words, module.token_embedding = module.token_embedding, torch.nn.Identity()
    module.to(device=device, dtype=dtype).token_embedding = words.to(device)
    return module


def read_tower(folder: ModelFolder, tower: str) -> dict[str, torch.Tensor]:
    """One tower, mapped, under its own names inside it; those of texts have a prefix in newer files alone."""
    state = {}
    try:
        with safe_open(folder.weights, framework="pt") as file:
            for key in file.keys():  # noqa: SIM118
                if key not in _SCALES and key.startswith("visual.") == (tower == "image"):
                    name = key.removeprefix("visual." if tower == "image" else "text.")
                    state[name] = file.get_tensor(key)
    except (OSError, SafetensorError) as error:
        raise unusable(folder.path, f"{folder.weights.name} is damaged ({error})") from error
    return state


def image_features(tower: Any, pixels: torch.Tensor) -> torch.Tensor:
    """[batch, 3, height, width], normalised -> float32 [batch, dim]."""
    return _first(tower(pixels))


def text_features(tower: Any, tokens: torch.Tensor) -> torch.Tensor:
    """int64 [num_texts, length] -> float32 [num_texts, dim]; a shorter length than the context where attention looks
    back alone."""
    mask = getattr(tower, "attn_mask", None)
    if mask is not None:  # open_clip cuts its positions to fit, but not its mask
        tower = copy.copy(tower)
        tower._buffers = {**tower._buffers, "attn_mask": mask[: tokens.shape[1], : tokens.shape[1]]}
    return _first(tower(tokens))


def _first(found: Any) -> torch.Tensor:
    features: torch.Tensor = (found[0] if isinstance(found, tuple) else found).float()
    return features


class OpenClipBackbone:
    """One loaded model, or one tower of it. See `vtrcli.model.backbone.Backbone`."""

    def __init__(
        self,
        image: Any,
        text: Any,
        texts: Any,
        described: Description,
        *,
        device: str,
        precision: str,
    ) -> None:
        self._image, self._text, self._texts = image, text, texts
        self.info, self.preprocessing = described
        self.device, self.precision = device, precision

    def encode_images(self, frames: np.ndarray) -> np.ndarray:
        """See `Backbone.encode_images`."""
        self._required(self._image, "image")
        require_frames(frames, self.preprocessing)
        if not len(frames):
            return np.zeros((0, self.info.dim), np.float32)
        return self._finite(self.encode_pixels(pixels_on(self.device, frames)))

    @torch.inference_mode()
    def encode_pixels(self, pixels: torch.Tensor) -> torch.Tensor:
        """See `Backbone.encode_pixels`."""
        tower = self._required(self._image, "image")
        return image_features(
            tower, scaled_pixels(pixels, self.preprocessing).to(torch_dtype(self.precision))
        )

    def encode_texts(
        self, texts: Sequence[str], *, batch_size: int | None = None, max_tokens: int | None = None
    ) -> TextFeatures:
        """See `Backbone.encode_texts`. Where attention sees the padding, every text has the length of the training."""
        if isinstance(texts, str):
            raise InputError("one text", allowed="a list of texts", to_do="pass [text]")
        reader = self._reader()
        rows = [reader.row(text, max_tokens) for text in texts]

        def encode(tokens: np.ndarray) -> np.ndarray:
            return self._finite(self.encode_tokens(torch.from_numpy(tokens)))

        return encode_rows(rows, encode, dim=self.info.dim, batch_size=batch_size)

    @torch.inference_mode()
    def encode_tokens(self, tokens: torch.Tensor) -> torch.Tensor:
        """int64 [num_texts, length] -> float32 [num_texts, dim] on the device."""
        return text_features(self._required(self._text, "text"), tokens.to(self.device))

    def cut_text(self, text: str, max_tokens: int | None) -> str:
        """See `Backbone.cut_text`."""
        cut: str = self._reader().cut(text, max_tokens)
        return cut

    def _reader(self) -> Any:
        reader: Any = self._required(self._texts, "text")
        return reader

    def _finite(self, features: torch.Tensor) -> np.ndarray:
        found: np.ndarray = features.cpu().numpy()
        return require_finite(found, name=self.info.name, precision=self.precision)

    def _required(self, part: Any, tower: str) -> Any:
        if part is None:
            other = "image" if tower == "text" else "text"
            raise UsageError(
                f"only the {other} tower of {self.info.name} is loaded",
                allowed=f"this needs the {tower} tower",
                to_do=f"load the backbone with towers='both' or towers='{tower}'",
            )
        return part
