"""What a result rests on, so that two are compared only where they answer the same question, and what differs is said.

A protocol is a flat JSON object: `QUESTION` names what must be the same for a comparison to mean anything, the rest is
what is compared. Its fingerprint is a hash over all of it but the names of places on a disk.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from vtrcli.ranking.listed import ListedScores
from vtrcli.ranking.scores import ScoreSource
from vtrcli.ranking.truth import Truth
from vtrcli.store.config import StoreConfig

# How mteb's tasks differ from the papers' protocols, by the descriptions and statistics in mteb 2.26.24.
_MTEB = {
    "msrvtt-1ka": "MSRVTTT2V and MSRVTTV2T have 879 of the 1,000 videos; which ones, only its data set tells",
    "msvd": "MSVDT2VRetrieval and MSVDV2TRetrieval have 660 videos with one caption each; here are all captions",
    "didemo": "DiDeMoT2VRetrieval and DiDeMoV2TRetrieval have 999 videos, their .v2 993",
    "activitynet": "ActivityNetCaptionsT2VRetrieval and its V2T have 4,884 videos",
}
# What is asked, and how answers are counted.
QUESTION = tuple(
    "dataset split captions truth num_texts num_videos relevant_from ties v2t_over truncation".split()
)
# What answers.
SYSTEM = tuple(
    "frames preprocessing backbone weights head training seed tagger max_tokens corrections".split()
)
_WORDS = {
    "dataset": "data set",
    "captions": "captions (hash of ids and texts)",
    "truth": "which video is right (hash)",
    "num_texts": "texts",
    "num_videos": "videos",
    "relevant_from": "lowest grade that is right",
    "v2t_over": "v2t ranks over",
    "truncation": "what is listed",
    "max_tokens": "tokens read of a text",
    "weights": "weights (hash)",
    "training": "training settings (hash)",
}


def protocol_of(
    source: ScoreSource,
    truth: Truth,
    *,
    caption_ids: Sequence[str],
    texts: Sequence[str],
    video_ids: Sequence[str],
    known: Mapping[str, Any],
) -> dict[str, Any]:
    """The protocol of a result; None where something is not known.

    Args:
        video_ids: where the truth came by ids: two runs of one data set may name other videos beside the right ones;
            else empty, and the truth goes by numbers.
        known: what scores and truth do not tell, by the names in `QUESTION` and `SYSTEM`.
    """
    found = {
        **known,
        "captions": captions_hash(caption_ids, texts),
        "truth": truth_hash(truth, caption_ids, video_ids),
        "num_texts": truth.num_texts,
        "num_videos": truth.num_videos,
        "truncation": truncation(source),
    }
    return with_fingerprint({name: found.get(name) for name in (*QUESTION, *SYSTEM)})


def with_fingerprint(protocol: Mapping[str, Any]) -> dict[str, Any]:
    """A protocol and, as `fingerprint`, a hash over it: results of one fingerprint answer the same question by the same
    means."""
    text = json.dumps(protocol, sort_keys=True, default=str)
    return {**protocol, "fingerprint": _hash(text.encode())[:12]}


def captions_hash(caption_ids: Sequence[str], texts: Sequence[str]) -> str | None:
    """SHA-256 over the texts' ids and words; None where one of them is not known."""
    if not caption_ids or not texts:
        return None
    named = (f"{name}\0{text}\0" for name, text in zip(caption_ids, texts, strict=True))
    return _hash("".join(named).encode("utf-8", "surrogatepass"))


_BY_IDS = "ids-"


def truth_hash(truth: Truth, caption_ids: Sequence[str] = (), video_ids: Sequence[str] = ()) -> str:
    """SHA-256 over the right pairs, by ids where there are any of videos; else by number, with how many there are."""
    if video_ids:
        pairs_by_id = sorted(
            f"{caption_ids[text]}\0{video_ids[video]}\0"
            for text, video in zip(truth.text_index.tolist(), truth.video_index.tolist(), strict=True)
        )
        return _BY_IDS + _hash("".join(pairs_by_id).encode("utf-8", "surrogatepass"))
    pairs = np.stack([truth.text_index, truth.video_index], axis=1).astype("<i8")
    return _hash(f"{truth.num_texts} {truth.num_videos} ".encode() + pairs.tobytes())


def is_by_ids(truth: str) -> bool:
    """Whether such a hash is over ids: one of each kind cannot be compared."""
    return truth.startswith(_BY_IDS)


def truncation(source: ScoreSource) -> str:
    """`all pairs`, or how many videos a text lists."""
    return f"the best {source.listed_in_words}" if isinstance(source, ListedScores) else "all pairs"


def differences(a: Mapping[str, Any], b: Mapping[str, Any], names: tuple[str, ...]) -> list[str]:
    """A sentence for each of `names` that both know and that differs."""
    return [
        f"{_WORDS.get(name, name)}: {_shown(a[name])} / {_shown(b[name])}"
        for name in names
        if None not in (a.get(name), b.get(name)) and a[name] != b[name]
    ]


def mteb_differs(dataset: str | None) -> list[str]:
    """Sentences on why a number here is not the one on mteb's leaderboard."""
    known = _MTEB.get(dataset or "")
    return [
        f"mteb: {known}" if known else "mteb: no task of this data set is known here",
        "mteb: its main score is nDCG@10, where papers give R@1; equal scores stand in the order of their ids",
        "mteb: its own numbers are made by its own tasks: vtrcli.evaluation.mteb_model.StoreModel answers them",
    ]


def in_words(protocol: Mapping[str, Any]) -> dict[str, str]:
    """What is known of it, for a page or a table."""
    return {
        _WORDS.get(name, name): _shown(value)
        for name, value in protocol.items()
        if value not in (None, "", [])
    }


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_shown(one)}" for name, one in value.items() if one is not None)
    if isinstance(value, list):
        return ", ".join(map(_shown, value))
    text = str(value).removeprefix(_BY_IDS)
    return text[:12] if len(text) == 64 and set(text) <= set("0123456789abcdef") else text


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def system_of_store(config: StoreConfig, run: Any | None, *, tagger: str) -> dict[str, Any]:
    """What answers: a store's `StoreConfig` and, of a trained run, its `RunConfig`."""
    found: dict[str, Any] = {
        "frames": config.sampling or None,
        "preprocessing": config.preprocessing or None,
        "backbone": config.backbone.bare_name,
        "weights": config.backbone.sha256,
        "tagger": tagger,
        "head": "mean of frames",
    }
    if run is not None:
        settings = run.settings.to_json()
        found["seed"] = settings.pop("seed", None)
        found["head"] = run.settings.head
        found["training"] = _hash(json.dumps([settings, run.dataset], sort_keys=True, default=str).encode())
    return found
