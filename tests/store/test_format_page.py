"""docs/store-format.md says what is written."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
from safetensors import safe_open

from tests.store.stores import SHA256, make_config, make_record
from vtrcli.store.frames import FrameJpegs
from vtrcli.store.texts import TextRows, write_texts
from vtrcli.store.writer import StoreWriter
from vtrcli.video.sampling import Uniform

PAGE = (Path(__file__).parents[2] / "docs" / "store-format.md").read_text(encoding="utf-8")


def section(title: str) -> str:
    return PAGE.split(f"## {title}\n")[1].split("\n## ")[0]


def test_the_example_of_store_json_has_the_keys_that_are_written() -> None:
    (block,) = re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)
    example = json.loads(block.replace(", …", ""))
    written = make_config().to_json()
    assert list(example) == list(written)
    assert list(example["backbone"]) == list(written["backbone"])
    assert example["sampling"] == Uniform(num_frames=12).to_json()


def test_every_tensor_and_key_of_a_file_is_named_in_its_section(tmp_path: Path) -> None:
    (tmp_path / "shards").mkdir()
    writer = StoreWriter(tmp_path, backbone_sha256=SHA256)
    writer.add(make_record("a"), np.ones((1, 4)), np.zeros(1), jpegs=FrameJpegs((b"jpeg",)))
    writer.flush()
    rows = TextRows(np.ones((1, 1, 4)), np.ones((1, 1), bool))
    write_texts(tmp_path, ["a"], rows, streams=["fusion"], tagger_id="t", backbone_sha256=SHA256)
    for folder in ("shards", "frames", "text"):
        (path,) = (tmp_path / folder).iterdir()
        with safe_open(path, "numpy") as file:
            names = {*file.keys(), *file.metadata()} - {"fusion"}
        told = section(f"{folder}/*.safetensors")
        assert [name for name in sorted(names) if f"`{name}`" not in told] == []
