"""Who loads a backbone: its name, a file or a folder -> a `Backbone`. Nothing heavy at import."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from vtrcli.errors import InputError, NotFiniteError, StoreError, WeightsError
from vtrcli.files import write_whole

if TYPE_CHECKING:
    import numpy as np
    import torch

    from vtrcli.model.backbone import (
        Backbone,
        Family,
        ModelEntry,
        Precision,
        Progress,
        TextFeatures,
        Towers,
        TrainableBackbone,
    )
    from vtrcli.store.config import BackboneInfo, Description
    from vtrcli.store.reader import FeatureStore

DEFAULT_BACKBONE = "ViT-B/32"
# Of a feature in half precision to the one in float32, where nobody chose the precision.
MIN_ROUNDED_COSINE = 0.999
_LOG = logging.getLogger(__name__)
_PROBED_TEXTS = ("a man is cooking in a kitchen", "two dogs run along the beach", "a paper plane")


def families() -> Iterator[Family]:
    """The table of families, in the order in which they are asked; what is not asked is not imported."""
    from vtrcli.model.clip.family import ClipFamily

    yield ClipFamily()
    from vtrcli.model.open_clip.family import OpenClipFamily

    yield OpenClipFamily()


def family_of(name: str) -> Family:
    """The family that loads a name, file or folder; what none of them knows is tried, and told, as CLIP's."""
    from vtrcli.model.clip.family import ClipFamily

    return next((family for family in families() if family.takes(name)), ClipFamily())


def is_published(name: str) -> bool:
    """Whether it names published weights: two of them are never the same."""
    return family_of(name).publishes(name)


def load_backbone(
    name: str,
    *,
    device: str = "auto",
    precision: Precision = "auto",
    towers: Towers = "both",
    sha256: str | None = None,
) -> Backbone:
    """Load a published name, a file, a folder, an imported name, or `demo`; download or convert it first if needed.

    `precision` auto is the device's own (docs/backbones.md), measured against float32 when these weights are first used
    in it; where a feature overflows all the same, the rest is computed in float32. `sha256` finds weights that were
    converted before also when their file has gone; it is not compared otherwise. Raises WeightsError, UsageError.
    """
    from vtrcli.model.backbone import choose_device

    device, family = choose_device(device), family_of(name)
    loaded = family.load(name, device=device, precision=precision, towers=towers, sha256=sha256)
    if precision != "auto" or loaded.precision == "float32":
        return loaded

    def exact() -> Backbone:
        return family.load(name, device=device, precision="float32", towers=towers, sha256=sha256)

    return _Careful(loaded, exact) if _rounds_little(loaded, exact, towers) else exact()


def _rounds_little(loaded: Backbone, exact: Callable[[], Backbone], towers: Towers) -> bool:
    """Whether half precision keeps the directions of these very weights' features: measured where they are first used
    and remembered, for what the arithmetic costs depends on weights that nobody has measured before."""
    import platformdirs
    import torch

    key = [loaded.info.sha256, loaded.device.partition(":")[0], loaded.precision, towers, torch.__version__]
    name = hashlib.sha256(json.dumps(key).encode()).hexdigest()
    kept = platformdirs.user_cache_path("vtr", appauthor=False) / "precision" / f"{name}.json"
    try:
        cosine = float(json.loads(kept.read_text("utf-8"))["cosine"])
    except (OSError, ValueError, TypeError, KeyError):
        cosine = _lowest_cosine(loaded, exact(), towers)
        if cosine < MIN_ROUNDED_COSINE:
            told = "%s computes in float32: in %s its features have a cosine of only %.4f to those"
            _LOG.warning(told, loaded.info.name, loaded.precision, cosine)
        with contextlib.suppress(OSError, WeightsError):  # a cache that cannot be written costs time alone
            kept.parent.mkdir(parents=True, exist_ok=True)
            write_whole(kept, json.dumps({"cosine": cosine, "of": key}).encode(), error=WeightsError)
    return cosine >= MIN_ROUNDED_COSINE


def _lowest_cosine(loaded: Backbone, exact: Backbone, towers: Towers) -> float:
    """Between the features of both, of drawn pictures and of texts; 0 where they overflow."""
    import numpy as np

    def features(backbone: Backbone) -> np.ndarray:
        found = [] if towers == "text" else [backbone.encode_images(_drawn(backbone.preprocessing.shape))]
        if towers != "image":
            found.append(backbone.encode_texts(_PROBED_TEXTS).features)
        rows = np.concatenate(found).astype(np.float64)
        unit: np.ndarray = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-300)
        return unit

    try:
        return float((features(loaded) * features(exact)).sum(axis=1).min())
    except NotFiniteError:
        return 0.0


def _drawn(shape: tuple[int, int, int]) -> np.ndarray:
    """uint8 [4, height, width, 3]: coloured cells of several sizes over each other, the same everywhere."""
    import numpy as np

    random, total = np.random.default_rng(0), np.zeros((4, *shape))
    for cells in (2, 8, 32):
        rows, columns = (np.arange(side) * cells // side for side in shape[:2])
        total += random.integers(0, 256, (4, cells, cells, 3))[:, rows][:, :, columns]
    drawn: np.ndarray = (total / 3).astype(np.uint8)
    return drawn


class _Careful:
    """A backbone whose half precision nobody asked for: where a feature overflows, it goes on in float32.

    `precision` then says so. See `vtrcli.model.backbone.Backbone`.
    """

    def __init__(self, loaded: Backbone, reload: Callable[[], Backbone]) -> None:
        self._loaded, self._reload = loaded, reload
        self.info, self.preprocessing, self.device = loaded.info, loaded.preprocessing, loaded.device

    @property
    def precision(self) -> str:
        """Of what was encoded last."""
        return self._loaded.precision

    def encode_images(self, frames: np.ndarray) -> np.ndarray:
        """See `Backbone.encode_images`."""
        try:
            return self._loaded.encode_images(frames)
        except NotFiniteError:
            return self._in_float32().encode_images(frames)

    def encode_pixels(self, pixels: torch.Tensor) -> torch.Tensor:
        """See `Backbone.encode_pixels`."""
        return self._loaded.encode_pixels(pixels)

    def encode_texts(
        self, texts: Sequence[str], *, batch_size: int | None = None, max_tokens: int | None = None
    ) -> TextFeatures:
        """See `Backbone.encode_texts`."""
        try:
            return self._loaded.encode_texts(texts, batch_size=batch_size, max_tokens=max_tokens)
        except NotFiniteError:
            return self._in_float32().encode_texts(texts, batch_size=batch_size, max_tokens=max_tokens)

    def cut_text(self, text: str, max_tokens: int | None) -> str:
        """See `Backbone.cut_text`."""
        return self._loaded.cut_text(text, max_tokens)

    def _in_float32(self) -> Backbone:
        if self._loaded.precision != "float32":  # else it raises again, as it should
            self._loaded = self._reload()
        return self._loaded


def load_trainable(
    name: str, *, device: str, sha256: str | None = None, from_scratch: bool = False
) -> TrainableBackbone:
    """What fine-tuning begins with: weights as `load_backbone` finds them, or new ones of the same sizes.

    Raises:
        WeightsError: no such weights.
        UsageError: a backbone that cannot be fine-tuned.
    """
    return family_of(name).load_trainable(name, device=device, sha256=sha256, from_scratch=from_scratch)


def describe_backbone(name: str, *, progress: Progress | None = None) -> Description:
    """Name, identity, sizes and preprocessing, as `load_backbone` would give them; without torch once the weights are
    converted. `progress` is called with (bytes there, bytes in all) while downloading."""
    return family_of(name).describe(name, progress=progress)


def backbone_info(name: str) -> BackboneInfo:
    """The `info` of `describe_backbone`."""
    return describe_backbone(name).info


def said_to_be(name: str, *, dim: int) -> BackboneInfo:
    """What a store records of features that a person says are of backbone `name`; nothing is downloaded.

    Its own identity where its weights are at hand, so that stores and runs of it fit; else what is known by its name.
    A name that vtr does not know is as good as any.

    Raises:
        InputError: its features have another dimension.
    """
    from vtrcli.store.config import BackboneInfo

    listed = _listed(name)
    is_path = name.startswith(("/", "./", "../", "~")) or os.path.isfile(name)
    is_here = is_path if listed is None else listed.path is not None
    info = backbone_info(name) if is_here else None
    known = info.dim if info else listed.dim if listed else dim
    if known != dim:
        raise InputError(
            f"features of {dim} dimensions, said to be of {name}",
            allowed=f"{name} makes features of {known}",
            to_do="name the backbone that made them (--backbone), see `vtr models list`",
        )
    return info or BackboneInfo.claimed_by_name(name, dim=dim, input_size=listed.input_size if listed else 0)


def _listed(name: str) -> ModelEntry | None:
    entries = (entry for family in families() for entry in family.models())
    return next((entry for entry in entries if entry.name == name), None)


def _is_listed(name: str) -> bool:
    """Whether it is a name that means the same everywhere, and no path."""
    return is_published(name) or _listed(name) is not None


def load_query_tower(name: str, *, device: str = "auto", sha256: str | None = None) -> Backbone:
    """The text tower for a few texts: in NumPy where that is possible, since torch takes longer to import than a query
    to encode; in torch where a device is named, and for towers of other kinds. Raises as `load_backbone`."""
    from vtrcli.model.backbone import NeedsTorch

    if device in ("auto", "cpu"):
        try:
            tower = family_of(name).query_tower(name, sha256=sha256)
            _LOG.info("the text tower of %s is computed by NumPy", name)
            return tower
        except (NeedsTorch, StoreError) as why:  # of a damaged file torch's way tells in its own words
            _LOG.info("the text tower of %s is computed by torch: %s", name, why.args[0])
    else:
        _LOG.info("the text tower of %s is computed by torch: device %s", name, device)
    return load_backbone(name, device=device, towers="text", sha256=sha256)


def open_text_tower(store: FeatureStore, *, device: str) -> Backbone:
    """The text tower that belongs to a store's features; raises as `open_tower`."""
    config = store.config
    return open_tower(
        config.backbone,
        store=store.path,
        tower="text",
        device=device,
        preprocessing=config.preprocessing,
    )


def open_tower(
    made_by: BackboneInfo,
    *,
    store: Path,
    tower: Literal["query", "text", "image"],
    device: str,
    preprocessing: dict[str, Any] | None = None,
) -> Backbone:
    """One tower of the backbone that made the features of `store`; `preprocessing` is what the store records. "query":
    that of texts, for a few at a time (`load_query_tower`).

    Raises:
        WeightsError: it cannot be loaded; nobody knows the backbone of imported features.
        StoreError: the weights of that name are other ones now, or store.json says of them what they are not.
    """
    if made_by.is_claimed and not _is_listed(made_by.name):
        raise WeightsError(
            f"store {store} holds imported features of {made_by.name!r}, which vtr has no weights of",
            allowed="queries are encoded by the towers that belong to the features; --like needs none",
            to_do="ask with --like VIDEO, or import under a --backbone of `vtr models list`",
        )
    try:
        if tower == "query":
            backbone = load_query_tower(made_by.name, device=device, sha256=made_by.sha256)
        else:
            backbone = load_backbone(made_by.name, sha256=made_by.sha256, device=device, towers=tower)
    except WeightsError as error:
        if not os.path.isabs(made_by.name) or os.path.exists(made_by.name):
            raise
        raise WeightsError(
            f"the weights that made store {store} are gone from {made_by.name}",
            allowed="a query needs the model that made the features, unless it was asked before",
            to_do="put them back to that place, or extract into a new --store",
        ) from error
    if not made_by.is_claimed and backbone.info.sha256 != made_by.sha256:
        from vtrcli.store.config import what_differs

        told = backbone.preprocessing.to_json()
        differs = what_differs(made_by, backbone.info, preprocessing or {}, told)
        raise StoreError(
            f"store {store} was made with other weights than {made_by.name} is now "
            f"({made_by.sha256[:12]}, not {backbone.info.sha256[:12]})" + (f": {differs}" if differs else ""),
            allowed="the weights that made the features",
            to_do=f"put them back, or extract into a new store with `--backbone {made_by.name}`",
        )
    if backbone.info.dim != made_by.dim:
        raise StoreError(
            f"store.json in {store} tells of features with {made_by.dim} dimensions",
            allowed=f"those of {made_by.name} have {backbone.info.dim}",
            to_do="restore store.json, or extract into a new --store",
        )
    return backbone
