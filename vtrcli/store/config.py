"""`store.json`: what a feature store holds. Written once, first; everything else must agree with it."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import secrets
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

from vtrcli import files
from vtrcli.errors import StoreError
from vtrcli.files import read_regular, replacing, unreadable, write_whole
from vtrcli.preprocessing import Framing, Preprocessing, recorded_framing

STORE_VERSION = 1
CONFIG_NAME = "store.json"
ENGLISH = "English"
SHARD_FOLDER = "shards"
SIMILAR_FRAMES = "similar_frames"  # key of `preprocessing`; absent where only equal frames share a feature
INDEX_FOLDER = "index"  # of what is derived
BANK_NAME = "bank.safetensors"  # captions of a query bank, in the format of `vtrcli.store.texts`
STORE_FOLDERS = frozenset({SHARD_FOLDER, "frames", "text", INDEX_FOLDER})
# Which shape pixels were taken to have, in words.
_SHAPES = {"display": "made square, as players show them", "pixels": "as they are stored"}
# How the identity of a backbone begins that features are only said to be of: nobody could look at its weights.
_CLAIMED = "claimed-"
# What reading foreign or damaged JSON can raise; deep nesting ends in RecursionError.
MALFORMED = (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError)


@dataclass(frozen=True, kw_only=True)
class BackboneInfo:
    """The model that made the features. `sha256` is over the content of its weights, not over a file; of imported
    features whose backbone is only known by its name it is `claimed-` and a hash of that (`claimed_by_name`)."""

    name: str  # what `load_backbone` takes: for a file its absolute path
    sha256: str
    dim: int
    input_size: int | tuple[int, int]  # side of frames in pixels; (height, width) where not square
    logit_scale: float  # factor of the cosines
    logit_bias: float | None = None  # added to the logits of a model that was trained with a sigmoid
    context_length: int = 77  # tokens of a text, start and end included
    languages: str = ENGLISH  # of the texts that it was trained on, in words

    @classmethod
    def claimed_by_name(cls, name: str, *, dim: int, input_size: int = 0) -> BackboneInfo:
        """What a person says: equal for an equal name and dimension. `input_size` 0: not known; the scale is CLIP's."""
        digest = hashlib.sha256(json.dumps([name, dim]).encode()).hexdigest()
        return cls(
            name=name, sha256=_CLAIMED + digest[:24], dim=dim, input_size=input_size, logit_scale=100.0
        )

    @property
    def bare_name(self) -> str:
        """Of a file of weights its name alone: where it lies is nobody else's concern."""
        return os.path.basename(self.name) if os.path.isabs(self.name) else self.name

    @property
    def is_claimed(self) -> bool:
        """Whether it is known by name alone."""
        return self.sha256.startswith(_CLAIMED)

    @property
    def frame_size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return (self.input_size, self.input_size) if isinstance(self.input_size, int) else self.input_size

    def probability(self, cosine: float) -> float | None:
        """That a picture and a text belong together, by a model that was trained with a sigmoid; None of others."""
        if self.logit_bias is None:
            return None
        logit = self.logit_scale * cosine + self.logit_bias
        # Whichever form does not overflow.
        return 1 / (1 + math.exp(-logit)) if logit > 0 else math.exp(logit) / (1 + math.exp(logit))

    def to_json(self) -> dict[str, Any]:
        """The JSON object, as older programs read it where nothing is new."""
        body = asdict(self)
        for field in fields(self):
            if body[field.name] == field.default:
                del body[field.name]
        return body

    @classmethod
    def from_json(cls, body: dict[str, Any]) -> BackboneInfo:
        """Raises KeyError, TypeError or ValueError for anything else than `to_json` makes."""
        info = cls(**body)
        require_types(
            {**vars(info)},
            {
                "name": (str,),
                "sha256": (str,),
                "dim": (int,),
                "input_size": (int, list),
                "logit_scale": (int, float),
                "logit_bias": (int, float, type(None)),
                "context_length": (int,),
                "languages": (str,),
            },
        )
        if info.dim < 1:
            raise ValueError(f"dim is {info.dim}")
        if isinstance(info.input_size, int):
            return info
        height, width = info.input_size
        return replace(info, input_size=(int(height), int(width)))


class Description(NamedTuple):
    """What is known of a backbone before it is loaded, and what a store records of it."""

    info: BackboneInfo
    preprocessing: Preprocessing


@dataclass(frozen=True, kw_only=True)
class StoreConfig:
    """Contents of `store.json`. `sampling` and `preprocessing` are plain JSON objects, empty where they are not known.

    `source` tells of features that were imported how they came; None for those that were extracted here.
    """

    backbone: BackboneInfo
    sampling: dict[str, Any]
    preprocessing: dict[str, Any]
    dtype: str = "float16"
    version: int = STORE_VERSION
    source: dict[str, Any] | None = None

    @property
    def aspect(self) -> Literal["display", "pixels"]:
        """Whether pixels were made square, as players show them, or taken as they are stored; older stores: square."""
        return "pixels" if self.preprocessing.get("aspect") == "pixels" else "display"

    @property
    def similar_frames(self) -> float:
        """Up to which difference frames share a feature, see `vtrcli.extraction.similar`; 0: equal ones alone."""
        bound = self.preprocessing.get(SIMILAR_FRAMES)
        return float(bound) if isinstance(bound, int | float) else 0.0

    @property
    def framing(self) -> Framing:
        """The size and shape of the frames that the image tower saw."""
        return recorded_framing(self.preprocessing, self.backbone.frame_size)

    def to_json(self) -> dict[str, Any]:
        """The JSON object, format first so that a reader can stop there."""
        body = {**asdict(self), "backbone": self.backbone.to_json()}
        version = body.pop("version")
        if self.source is None:
            del body["source"]
        return {"format": "vtr-store", "version": version, **body}


def create_config(store: Path, config: StoreConfig) -> StoreConfig:
    """Write `store.json` unless one is there; return the one that is there now.

    Many processes may do this at once: the first hard link wins, the others read what it wrote.

    Raises:
        StoreError: the folder cannot be written, or holds a store that cannot be read.
    """
    path = store / CONFIG_NAME
    if not path.exists():
        make_folder(store / SHARD_FOLDER)
        text = (json.dumps(config.to_json(), indent=2) + "\n").encode()
        candidate = store / f".{CONFIG_NAME}-{secrets.token_hex(6)}"
        write_whole(candidate, text)
        try:
            os.link(candidate, path)
        except FileExistsError:
            pass
        except OSError:  # a file system without hard links
            with replacing(path) as temporary:
                temporary.write_bytes(text)
        finally:
            with contextlib.suppress(OSError):  # it must not hide why the write failed
                candidate.unlink()
    return read_config(store)


def is_store(folder: Path) -> bool:
    """Whether the folder's `store.json` is one of ours, and no other program's."""
    try:
        return '"vtr-store"' in read_regular(folder / CONFIG_NAME)[:200]
    except OSError:
        return False


@contextlib.contextmanager
def writing(store: Path, config: StoreConfig) -> Iterator[None]:
    """Make the store for a run that may fill it; a new one in which nothing was put when it ends is taken away again.

    Raises:
        StoreError: as `create_config`; a store of another backbone, sampling or preprocessing.
    """
    had_folder, is_new = store.exists(), not (store / CONFIG_NAME).exists()
    require_same(store, create_config(store, config), config)
    try:
        yield
    finally:
        if is_new and not _holds_anything(store):
            _remove_empty(store, config, keep_folder=had_folder)


def _holds_anything(store: Path) -> bool:
    return any((store / SHARD_FOLDER).glob("*"))


def _remove_empty(store: Path, config: StoreConfig, *, keep_folder: bool) -> None:
    """Take away the files of a store without a shard; another process may have begun to fill it meanwhile."""
    with contextlib.suppress(OSError):
        (store / CONFIG_NAME).unlink()
        try:
            (store / SHARD_FOLDER).rmdir()
        except OSError:
            create_config(store, config)
            return
        for name in ("failures.jsonl", "roots.jsonl"):
            (store / name).unlink(missing_ok=True)
        if (store / "frames").is_dir():
            (store / "frames").rmdir()
        if not keep_folder:
            store.rmdir()


def read_config(store: Path) -> StoreConfig:
    """Read `store.json`.

    Raises:
        StoreError: no store here, a damaged file, or a format newer than this program.
    """
    path = store / CONFIG_NAME
    try:
        body = json.loads(read_regular(path))
    except FileNotFoundError:
        raise StoreError(
            f"no feature store at {store}",
            allowed=f"a store is a folder with a {CONFIG_NAME}",
            to_do=f"make it with `vtr extract FOLDER --store {store}`",
        ) from None
    except OSError as cause:
        raise unreadable(path, cause) from cause
    except MALFORMED as cause:
        raise _damaged(path, str(cause)) from cause
    if not isinstance(body, dict) or body.get("format") != "vtr-store":
        raise _damaged(path, "it is not a vtr store description")
    version = body.get("version")
    if type(version) is not int or version > STORE_VERSION:
        raise StoreError(
            f"{store} has store format version {version}",
            allowed=f"this vtr reads versions up to {STORE_VERSION}",
            to_do="update vtr: pip install -U vtrcli",
        )
    try:
        return _parsed(body)
    except MALFORMED as cause:
        raise _damaged(path, f"a field is missing or wrong ({cause})") from cause


def _parsed(body: dict[str, Any]) -> StoreConfig:
    """Raises KeyError, TypeError, AttributeError or ValueError."""
    backbone = BackboneInfo.from_json(body["backbone"])
    body = {"source": None, **body}
    types: dict[str, tuple[type, ...]] = {"sampling": (dict,), "preprocessing": (dict,), "dtype": (str,)}
    require_types(body, {**types, "source": (dict, type(None))})
    return StoreConfig(
        backbone=backbone,
        sampling=body["sampling"],
        preprocessing=body["preprocessing"],
        dtype=body["dtype"],
        version=body["version"],
        source=body["source"],
    )


def require_extracted(store: Path, config: StoreConfig) -> None:
    """Raises StoreError for imported features of which nobody knows how their frames were chosen and prepared: what is
    extracted here would be another thing."""
    if config.source is not None and not (config.preprocessing and config.sampling):
        raise StoreError(
            f"store {store} holds imported features; how their frames were chosen and prepared is not known",
            allowed="videos are added to features that were extracted, or exported, by vtr",
            to_do=f"extract into `--store {store}-other`, or import more features (`vtr store import`)",
        )


def require_types(body: dict[str, Any], types: dict[str, tuple[type, ...]]) -> None:
    """Check the values of a JSON object. Raises KeyError for a missing key, TypeError for another type."""
    for key, allowed in types.items():
        if type(body[key]) not in allowed:  # not isinstance: true is no number
            raise TypeError(f"{key} is {str(body[key])[:60]!r}")


def require_same(store: Path, existing: StoreConfig, wanted: StoreConfig) -> None:
    """Refuse to mix two backbones, samplings or preprocessings in one store.

    Raises:
        StoreError: with the first thing that differs and a command that would work.
    """
    have, want = existing.backbone, wanted.backbone
    other = f"{store}-other"
    differs = what_differs(have, want, existing.preprocessing, wanted.preprocessing)
    if have.sha256 != want.sha256:
        is_same_name = have.name == want.name
        raise StoreError(
            f"store {store} holds features of {have.name} (weights {have.sha256[:12]}), "
            f"not of {want.name} (weights {want.sha256[:12]})" + (f": {differs}" if differs else ""),
            allowed="a store holds one backbone",
            to_do=f"use `--store {other}` for "
            + (
                "what it is now, or put back what made the store"
                if is_same_name
                else f"{want.name}, or `--backbone {have.name}`"
            ),
        )
    if existing.aspect != wanted.aspect:
        raise StoreError(
            f"store {store} holds features of pixels {_SHAPES[existing.aspect]}, not {_SHAPES[wanted.aspect]}",
            allowed="a store holds one aspect",
            to_do=f"use `--aspect {existing.aspect}`, or `--store {other}` for {wanted.aspect}",
        )
    if existing.similar_frames != wanted.similar_frames:
        bounds = existing.similar_frames, wanted.similar_frames
        raise StoreError(
            f"store {store} has similar frames up to {bounds[0]:g}, not {bounds[1]:g}",
            allowed="a store holds one bound; 0 is for frames that are equal",
            to_do=f"use `--similar-frames {bounds[0]:g}`, or `--store {other}` for {bounds[1]:g}",
        )
    checked_apart = {"aspect": None, SIMILAR_FRAMES: None}
    there, asked = ({**each.preprocessing, **checked_apart} for each in (existing, wanted))
    sizes = {have.frame_size, want.frame_size}  # imported features do not tell theirs
    if there != asked or (len(sizes) > 1 and all(map(all, sizes))):
        raise StoreError(
            f"store {store} was made with other preprocessing: {differs or 'told in other words'}",
            allowed="a store holds one preprocessing",
            to_do=f"use `--store {other}`",
        )
    for what in ("sampling", "dtype"):
        there, asked = getattr(existing, what), getattr(wanted, what)
        if there != asked:
            raise StoreError(
                f"store {store} has {what} {_words(there)}, not {_words(asked)}",
                allowed=f"a store holds one {what}",
                to_do=f"leave the {what} options out to use the store's, or use `--store {other}`",
            )


def what_differs(
    have: BackboneInfo,
    want: BackboneInfo,
    have_preprocessing: dict[str, Any],
    want_preprocessing: dict[str, Any],
) -> str:
    """What is known beside the weights of two backbones, where it differs: `squash 384 bilinear against crop 224
    bicubic, texts of 32 tokens against 77`. Preprocessing as in `store.json`; an empty one is not known."""
    there, asked = (
        _in_words(info, told) for info, told in ((have, have_preprocessing), (want, want_preprocessing))
    )
    keys = [key for key in there if asked.get(key, there[key]) != there[key]]
    return ", ".join(f"{key.format(there[key])} against {asked[key]}" for key in keys)


def _in_words(info: BackboneInfo, preprocessing: dict[str, Any]) -> dict[str, str]:
    """What is said of a value -> the value."""
    words = {}
    if preprocessing and all(info.frame_size):  # imported features do not tell
        words["{}"] = recorded_framing(preprocessing, info.frame_size).words
        words["values {}"] = "{:g} to {:g}".format(*preprocessing.get("value_range", (0, 1)))
    for key in ("mean", "std"):
        if key in preprocessing:
            words[f"{key} {{}}"] = " ".join(f"{value:.3g}" for value in preprocessing[key])
    return {**words, "texts of {} tokens": str(info.context_length), "{} dimensions": str(info.dim)}


def _words(value: dict[str, Any] | str) -> str:
    """`mode rate, fps 0.5, min_frames 12`: what is None is left out."""
    if isinstance(value, str):
        return value
    return ", ".join(f"{key} {item}" for key, item in value.items() if item is not None)


def make_folder(path: Path) -> None:
    """Make a folder of a store unless it is there, before something is written into it.

    Raises:
        StoreError: that cannot be done; a link leads out of the store.
    """
    files.make_folder(
        path, allowed="the store must lie in a writable folder", to_do="choose another place with --store"
    )
    require_inside(path)


def require_inside(folder: Path) -> None:
    """Refuse to write or delete in a folder of a store that is a link to elsewhere: the store may be a stranger's.

    Raises:
        StoreError: it leads out of the store.
    """
    within = next((inner for inner in (folder, folder.parent) if inner.name in STORE_FOLDERS), None)
    if within is None:
        return
    real = Path(os.path.realpath(folder))
    if not real.is_relative_to(os.path.realpath(within.parent)):
        raise StoreError(
            f"{folder} leads out of the store, to {real}",
            allowed="folders that lie in the store; the store itself may be a link",
            to_do="move the whole store to where there is room and link that, or put the folder back in its place",
        )


def delete_file(path: Path) -> None:
    """Delete a file of a store unless it is gone. Raises StoreError where that cannot be done or leads out of it."""
    require_inside(path.parent)
    try:
        path.unlink(missing_ok=True)
    except OSError as cause:
        raise StoreError(
            f"cannot delete {path}: {cause.strerror or cause}",
            allowed="the store's folders must be writable",
            to_do="change their permissions, then run the same command again; nothing is lost",
        ) from cause


def _damaged(path: Path, detail: str) -> StoreError:
    return StoreError(
        f"{path} is damaged: {detail}",
        allowed="a JSON object written by `vtr extract`",
        to_do="restore the file, or extract into a new --store",
    )
