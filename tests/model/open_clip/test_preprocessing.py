"""None of the twelve published models can be run with another's preprocessing."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import pytest

from tests.model.open_clip.folders import TWELVE, config_of, published_config, write_config, write_folder
from vtrcli.errors import StoreError
from vtrcli.extraction.settings import store_config
from vtrcli.model.families import describe_backbone
from vtrcli.store.config import Description, require_same
from vtrcli.video.sampling import Uniform

LABELS = [f"{name} {tag}" for name, tag in TWELVE]


@pytest.fixture(scope="module")
def described(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Description]:
    """What a store records of each: the published preprocessing over one set of small weights."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        folder = write_folder(tmp_path_factory.mktemp("twelve") / "model", "clip")
        found = {}
        for label, (name, tag) in zip(LABELS, TWELVE, strict=True):
            published, config = published_config(name, tag), config_of("clip")
            config["preprocess_cfg"] = published["preprocess_cfg"]
            # Weights are read for their identity alone, so the input may have any size.
            size = published["model_cfg"]["vision_cfg"]["image_size"]
            config["model_cfg"]["vision_cfg"] = {**config["model_cfg"]["vision_cfg"], "image_size": size}
            write_config(folder, config)
            found[label] = describe_backbone(str(folder))
    return found


def test_the_twelve_want_seven_kinds_of_pictures(described: dict[str, Description]) -> None:
    """As their authors publish them: what is compared below is not all the same."""
    seen = {label: told.preprocessing for label, told in described.items()}
    words = {label: f"{told.words} {told.mean[0]:.3g} {told.std[0]:.3g}" for label, told in seen.items()}
    assert words == {
        "ViT-B-32-quickgelu openai": "crop 224 bicubic 0.481 0.269",
        "ViT-B-32 laion2b_s34b_b79k": "crop 224 bicubic 0.481 0.269",
        "ViT-B-32-256 datacomp_s34b_b86k": "crop 256 bicubic 0.481 0.269",
        "ViT-B-32-quickgelu metaclip_fullcc": "crop 224 bicubic 0.481 0.269",
        "EVA02-B-16 merged2b_s8b_b131k": "crop 224 bicubic 0.481 0.269",
        "ViT-B-16-SigLIP webli": "squash 224 bicubic 0.5 0.5",
        "ViT-B-16-SigLIP2 webli": "squash 224 bicubic 0.5 0.5",
        "PE-Core-T-16-384 meta": "squash 384 bilinear 0.5 0.5",
        "PE-Core-S-16-384 meta": "squash 384 bilinear 0.5 0.5",
        "PE-Core-B-16 meta": "squash 224 bilinear 0.5 0.5",
        "MobileCLIP2-S0 dfndr2b": "crop 256 bilinear 0 1",
        "MobileCLIP2-B dfndr2b": "crop 224 bilinear 0 1",
    }


def test_another_s_preprocessing_is_another_identity_and_its_store_is_refused(
    described: dict[str, Description],
) -> None:
    """For each ordered pair; refused also where weights and name are said to be the same."""
    num_refused, plan = 0, Uniform(num_frames=2)
    for one, other in itertools.permutations(LABELS, 2):
        made, wanted = described[one], described[other]
        same_weights = replace(wanted.info, sha256=made.info.sha256)
        if made.preprocessing == wanted.preprocessing:
            require_same(Path("store"), store_config(made, plan), store_config(wanted, plan))
            continue
        assert made.info.sha256 != wanted.info.sha256, (one, other)
        for info in (wanted.info, same_weights):
            asked = store_config(Description(info, wanted.preprocessing), plan)
            with pytest.raises(StoreError):
                require_same(Path("store"), store_config(made, plan), asked)
        num_refused += 1
    # Of 132 pairs: 12 of CLIP's four, 2 of SigLIP's and 2 of PE-Core's at 384 want the same.
    assert num_refused == 116
