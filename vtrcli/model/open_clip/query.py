"""What a `text_cfg` of open_clip's says, for the text tower in NumPy (no torch here).

Every key is either read here or known to change nothing; any other one leaves the tower to torch and open_clip.
"""

from __future__ import annotations

from typing import Any

from vtrcli.model.backbone import NeedsTorch
from vtrcli.model.open_clip.folder import ModelFolder
from vtrcli.model.open_clip.tokens import TextReader
from vtrcli.model.text_tower import POOLING, Activation, TextBackbone, TextShape, TextTower
from vtrcli.store.config import Description
from vtrcli.store.shard import TensorFile

# Those of open_clip's `TextTransformer`, with its own defaults.
_DEFAULTS = {
    "context_length": 77,
    "vocab_size": 49408,
    "width": 512,
    "heads": 8,
    "layers": 12,
    "mlp_ratio": 4.0,
}
_READ = frozenset(
    "ls_init_value no_causal_mask eos_id pool_type proj_type proj_bias act_kwargs norm_kwargs".split()
)
# Of the tokenizer, of transformers' towers, or without any effect on the feature.
_WITHOUT_EFFECT = frozenset(
    "hf_tokenizer_name tokenizer_mode tokenizer_kwargs hf_model_name hf_model_pretrained hf_proj_type hf_pooler_type"
    " final_ln_after_pool correct_cls_mask output_tokens pad_id".split()
)


def query_tower(folder: ModelFolder, described: Description) -> TextBackbone:
    """Raises NeedsTorch, StoreError, WeightsError."""
    shape = _shape(folder)
    tensors = {
        key.removeprefix("text."): tensor
        for key, tensor in TensorFile(folder.weights).mapped().items()
        if key not in ("logit_scale", "logit_bias") and not key.startswith("visual.")
    }
    tower, told = TextTower(shape, tensors), _DEFAULTS | folder.text
    wanted = {key: told[key] for key in ("context_length", "vocab_size", "width", "layers")}
    wanted |= {"inner": int(told["width"] * told["mlp_ratio"]), "dim": described.info.dim}
    odd = [key for key, size in wanted.items() if tower.sizes[key] != size]
    if odd:
        raise NeedsTorch(f"its weights are of another {odd[0]} than its config")
    reader = TextReader(folder)
    return TextBackbone(tower, described, row=reader.row, cut=reader.cut)


def _shape(folder: ModelFolder) -> TextShape:
    told = folder.text
    for key in sorted(told.keys() - _DEFAULTS.keys() - _READ - _WITHOUT_EFFECT):
        if told[key]:
            raise NeedsTorch(f"its text_cfg has {key} {told[key]!r}")
    pooling = told.get("pool_type", "argmax")
    if pooling not in POOLING:
        raise NeedsTorch(f"its text_cfg has pool_type {pooling!r}")
    norm = told.get("norm_kwargs") or {}
    if norm.keys() - {"eps"}:
        raise NeedsTorch(f"its text_cfg has norm_kwargs {norm!r}")
    return TextShape(
        heads=int(told.get("heads", _DEFAULTS["heads"])),
        activation=_activation(told, quick=bool(folder.architecture.get("quick_gelu"))),
        is_causal=not told.get("no_causal_mask"),
        pooling=pooling,
        eos_id=int(told.get("eos_id", 2)),
        eps=float(norm.get("eps", 1e-5)),
    )


def _activation(told: dict[str, Any], *, quick: bool) -> Activation:
    kwargs = told.get("act_kwargs")
    if quick and kwargs is None:
        return "quick_gelu"
    approximate = (kwargs or {}).get("approximate", "none")
    if quick or (kwargs or {}).keys() - {"approximate"} or approximate not in ("none", "tanh"):
        raise NeedsTorch(f"its text_cfg has act_kwargs {kwargs!r}")
    return "gelu_tanh" if approximate == "tanh" else "gelu"
