"""The table of families, and a second one through all use cases: what is CLIP's own way is asked of nobody else."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import vtrcli as vtr
from tests.model import toy_family
from tests.model.tiny_clip import write_tiny_clip
from tests.model.toy_family import BIAS, CONTEXT, PREPROCESSING, SCALE, ToyBackbone, ToyFamily
from tests.store.old_frames import keep_what_was_seen
from tests.video.clips import make_video
from vtrcli.errors import StoreError, UsageError
from vtrcli.extraction.reencode import reencode_frames
from vtrcli.model import families
from vtrcli.model.families import describe_backbone, family_of, is_published, load_backbone
from vtrcli.model.models import list_models
from vtrcli.preprocessing import Framing
from vtrcli.searching.query import Query
from vtrcli.store.config import Description, read_config
from vtrcli.store.frames import decode_frame, encode_whole, frames_of
from vtrcli.store.reader import FeatureStore, unit_rows
from vtrcli.text.cache import cache_captions, open_text_cache
from vtrcli.video.cut import frame_at
from vtrcli.video.graph import Keeping
from vtrcli.video.reader import open_video
from vtrcli.video.sampling import Uniform

WORDS = "cat dog car house".split()
SPLITS = ("train", "train", "val", "test")


@pytest.fixture(autouse=True)
def _second_family(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = (ToyFamily(), *families.families())
    monkeypatch.setattr(families, "families", lambda: rows)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """videos/ of 96 x 48 pixels, and captions.csv."""
    folder = tmp_path_factory.mktemp("toy")
    (folder / "videos").mkdir()
    with open(folder / "captions.csv", "w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["video_id", "caption", "split"])
        for number, word in enumerate(WORDS):
            for version, split in enumerate(SPLITS):
                name, hue = f"{word}{version}", 60.0 * number + 5 * version
                source = f"testsrc2=size=96x48:rate=10:duration=0.3,hue=h={hue},setsar=1"
                make_video(folder / "videos" / f"{name}.mkv", source, "-pix_fmt", "yuv444p", "-qp", "8")
                table.writerow([name, f"The {word} is running" + " and running" * number, split])
    return folder


@pytest.fixture(scope="module")
def store(folder: Path) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        rows = (ToyFamily(), *families.families())
        patch.setattr(families, "families", lambda: rows)
        vtr.extract(
            folder / "videos", folder / "store", backbone="toy", frames=2, keep_frames=True, device="cpu"
        )
    return folder / "store"


def test_one_table_tells_who_loads_a_name() -> None:
    assert isinstance(family_of("toy"), ToyFamily)
    assert not isinstance(family_of("demo"), ToyFamily)
    assert is_published("toy") and is_published("ViT-B/32") and not is_published("demo")
    assert [entry.name for entry in list_models()][:2] == ["toy", "ViT-B/32"]
    assert load_backbone("toy", device="cpu").info == describe_backbone("toy").info
    assert load_backbone("demo", device="cpu", towers="text").info.name == "demo"


def test_a_store_records_what_the_family_told(store: Path) -> None:
    body = json.loads((store / "store.json").read_text())
    assert body["backbone"] == {
        "name": "toy",
        "sha256": toy_family.describe().info.sha256,
        "dim": 16,
        "input_size": [24, 40],
        "logit_scale": SCALE,
        "logit_bias": BIAS,
        "context_length": CONTEXT,
    }
    assert body["preprocessing"] == {
        "resize": "bilinear, both sides to the input size",
        "crop": "none",
        "mean": [127.5] * 3,
        "std": [127.5] * 3,
        "value_range": [0.0, 255.0],
        "aspect": "display",
    }
    config = read_config(store)
    assert config.backbone == toy_family.describe().info
    assert config.framing.shape == (24, 40, 3) and config.framing.resize == "squash"


def test_the_decoder_squashed_whole_frames(store: Path, folder: Path, tmp_path: Path) -> None:
    store = Path(shutil.copytree(store, tmp_path / "store"))
    keep_what_was_seen(store)
    opened = FeatureStore(store)
    location = opened.videos["cat0"]
    images = frames_of(store, opened.shards[location.shard], location)
    assert images is not None
    pixels = np.stack([decode_frame(image, size=PREPROCESSING) for image in images])
    assert pixels.shape == (2, 24, 40, 3)
    for kept, seconds in zip(pixels.astype(float), opened.timestamps("cat0"), strict=True):
        whole = Image.fromarray(frame_at(folder / "videos" / "cat0.mkv", float(seconds)))
        assert whole.size == (96, 48)
        squashed = np.asarray(whole.resize((40, 24), Image.Resampling.BILINEAR))
        cropped = np.asarray(replace(PREPROCESSING, resize="crop").fitted(whole))
        assert np.abs(kept - squashed).mean() < 3 < 15 < np.abs(kept - cropped).mean()
    features = load_backbone("toy", device="cpu").encode_images(pixels)
    np.testing.assert_allclose(opened.features("cat0"), features, atol=2e-3)


def test_train_evaluate_and_search_take_it_as_any_other(store: Path, folder: Path, tmp_path: Path) -> None:
    ToyBackbone.seen.clear()
    result = vtr.train(
        store,
        dataset="csv",
        annotations=folder,
        out=tmp_path / "run",
        steps=3,
        batch_size=4,
        num_frames=2,
        captions="all",
        patience=None,
        device="cpu",
    )
    assert result.steps >= 3
    config = vtr.load_run(tmp_path / "run")[1]
    assert config.backbone == read_config(store).backbone
    # Every batch had all 12 positions, though no caption has more than that.
    assert {length for _, length in ToyBackbone.seen} == {CONTEXT}
    for run in (None, tmp_path / "run"):
        scores = vtr.evaluate(
            store=store, run=run, dataset="csv", annotations=folder, dsl=True, num_bootstrap=0, device="cpu"
        )
        assert {row["R@10"] for row in scores.table()} == {100.0}  # of 4 videos
        if run is None:
            assert scores.to_json()["logit_scale"] == SCALE
    found = vtr.search("The cat is running", store, top_k=3, moments=True, device="cpu")
    ranked = vtr.search("The cat is running", store, run=tmp_path / "run", top_k=3, device="cpu")
    assert len(found.hits) == len(ranked.hits) == 3
    expected = load_backbone("toy", device="cpu").encode_texts(["The cat is running"]).features[0]
    features = FeatureStore(store).features(found.hits[0].video_id).astype(float)
    cosines = features @ expected / np.linalg.norm(features, axis=1) / np.linalg.norm(expected)
    assert found.hits[0].score == pytest.approx(cosines.max(), abs=2e-3)


def test_a_caption_is_encoded_alike_alone_and_beside_longer_ones(store: Path, folder: Path) -> None:
    with open(folder / "captions.csv", newline="", encoding="utf-8") as file:
        captions = [row["caption"] for row in csv.DictReader(file)]
    cached = cache_captions(store, dataset="csv", annotations=folder, device="cpu")
    cache = open_text_cache(FeatureStore(store), tagger_id=cached.tagger_id)
    backbone = load_backbone("toy", device="cpu")
    alone = np.concatenate([backbone.encode_texts([caption]).features for caption in captions])
    np.testing.assert_allclose(cache.rows(captions).features[:, 0], alone, atol=2e-3)


def test_a_long_query_is_told_with_the_models_own_length(store: Path) -> None:
    notes = vtr.search("word " * 13, store, device="cpu").notes
    assert notes == ("the query is longer than 12 tokens; the backbone reads only its beginning",)


def test_an_image_query_is_squashed_too(store: Path, tmp_path: Path) -> None:
    opened = FeatureStore(store)
    rng = np.random.default_rng(0)
    picture = Image.fromarray(rng.integers(0, 256, (30, 90, 3), dtype=np.uint8))
    picture.save(tmp_path / "a.png")
    found = vtr.search(Query(images=(str(tmp_path / "a.png"),)), store, device="cpu").hits[0]
    pixels = np.asarray(picture.resize((40, 24), Image.Resampling.BILINEAR))
    expected = load_backbone("toy", device="cpu").encode_images(pixels[None])[0]
    features = opened.features(found.video_id).astype(float)
    cosines = features @ expected / np.linalg.norm(features, axis=1) / np.linalg.norm(expected)
    assert found.score == pytest.approx(cosines.max(), abs=2e-3)


def test_a_store_of_other_preprocessing_is_refused_with_what_differs(
    store: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info, _ = toy_family.describe()
    other = replace(PREPROCESSING, resize="crop", interpolation="bicubic")
    monkeypatch.setattr(ToyFamily, "describe", lambda *_, **__: Description(info, other))
    with pytest.raises(StoreError) as caught:
        vtr.extract(folder / "videos", store, device="cpu")
    assert str(caught.value) == (
        f"store {store} was made with other preprocessing: squash 24 x 40 bilinear against crop 24 x 40 bicubic; "
        f"a store holds one preprocessing; use `--store {store}-other`"
    )


def test_whole_pictures_of_any_family_serve_any_other(store: Path, folder: Path, tmp_path: Path) -> None:
    for name, weights in (("demo", "demo"), ("tiny", str(write_tiny_clip(tmp_path / "tiny.safetensors")))):
        made, direct = tmp_path / f"{name}-made", tmp_path / name
        vtr.extract(folder / "videos", direct, backbone=weights, frames=2, keep_frames=True, device="cpu")
        for source, target, backbone, expected in (
            (store, made, weights, direct),
            (direct, tmp_path / f"{name}-toy", "toy", store),
        ):
            reencode_frames(source, target=target, backbone=backbone, device="cpu")
            now, wanted = FeatureStore(target), FeatureStore(expected)
            assert now.videos.keys() == wanted.videos.keys() and now.config == wanted.config
            for video_id in now.videos:
                ours, theirs = unit_rows(now.features(video_id)), unit_rows(wanted.features(video_id))
                assert (ours * theirs).sum(axis=1).min() > 0.995, (name, backbone, video_id)


@pytest.mark.slow
@pytest.mark.parametrize(
    "framing", [PREPROCESSING, Framing(height=32, width=32), Framing(height=64, width=64)]
)
def test_a_whole_picture_is_framed_as_the_decoder_frames_it(folder: Path, framing: Framing) -> None:
    """Up to 2.5/255 on these loud test cards: the decoder scales before it leaves YCbCr, Pillow after it."""
    wrong = replace(framing, resize="crop" if framing.resize == "squash" else "squash")
    for path in sorted((folder / "videos").iterdir()):
        keeping = Keeping(size=384, encode=encode_whole)
        with open_video(path, Uniform(num_frames=2), size=framing, keeping=keeping) as reader:
            (batch,) = reader
        for image, seen in zip(batch.kept, batch.pixels.astype(float), strict=True):
            assert np.abs(decode_frame(image, size=framing) - seen).mean() < 3
            assert np.abs(decode_frame(image, size=wrong) - seen).mean() > 15


def test_kept_frames_of_another_cut_are_not_encoded(store: Path, tmp_path: Path) -> None:
    weights = str(write_tiny_clip(tmp_path / "tiny.safetensors"))
    store = Path(shutil.copytree(store, tmp_path / "store"))
    keep_what_was_seen(store, {"cat0", "dog1"})
    with pytest.raises(
        StoreError, match="keeps frames of 2 of 16 videos squashed to 40 x 24, not cropped to"
    ):
        reencode_frames(store, target=tmp_path / "new", backbone=weights, device="cpu")
    reencode_frames(store, target=tmp_path / "same", backbone="toy", device="cpu")
    keep_what_was_seen(store)
    with pytest.raises(StoreError) as caught:
        reencode_frames(store, target=tmp_path / "new", backbone=weights, device="cpu")
    assert str(caught.value) == (
        f"store {store} keeps frames squashed to 40 x 24, not cropped to 32 x 32; "
        "kept frames serve backbones that see the same part of a picture in the same shape; "
        "run `vtr extract --renew-frames` with the videos first: whole pictures serve any backbone; or extract with "
        "--backbone into a new store"
    )
    assert not (tmp_path / "new").exists()


def test_a_family_may_refuse_to_be_fine_tuned(store: Path, folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="toy cannot be fine-tuned; backbones whose layers can be frozen; "):
        vtr.train(store, dataset="csv", annotations=folder, out=tmp_path / "run", finetune=True, device="cpu")
