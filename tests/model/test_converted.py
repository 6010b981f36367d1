"""The header of the converted file."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from safetensors.torch import save_file

from tests.model.tiny_clip import TINY_CONFIG, write_tiny_clip
from vtrcli.errors import WeightsError
from vtrcli.model.converted import is_converted, read_header


def test_the_header_says_what_was_written(tmp_path):
    header = read_header(write_tiny_clip(tmp_path / "tiny.safetensors"))
    assert (header.name, header.source, header.config) == ("tiny", "random weights", TINY_CONFIG)
    assert header.logit_scale == pytest.approx(100.0)
    assert len(header.sha256) == 64


def test_asking_for_the_sizes_does_not_import_torch(tmp_path):
    path = write_tiny_clip(tmp_path / "tiny.safetensors")
    code = (
        "import sys; from vtrcli.model.backbone import backbone_info; "
        f"print(backbone_info({str(path)!r}).dim, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "32 False\n"


def _file(path, metadata):
    save_file({"x": torch.zeros(1)}, path, metadata=metadata)
    return path


def test_other_files_are_not_converted_ones(tmp_path):
    assert not is_converted(tmp_path / "missing")
    assert not is_converted(_file(tmp_path / "plain", None))
    (tmp_path / "text").write_text("hello")
    assert not is_converted(tmp_path / "text")


def test_a_plain_safetensors_file_has_no_header_of_ours(tmp_path):
    path = _file(tmp_path / "plain", None)
    with pytest.raises(WeightsError) as error:
        read_header(path)
    assert str(error.value) == (
        f"{path} cannot be read: the header's format is None, not 'vtr-clip'; converted weights are a whole "
        "safetensors file with vtr's header; delete it, then import or pull the weights again"
    )


def test_a_newer_version_is_refused(tmp_path):
    path = _file(tmp_path / "new", {"format": "vtr-clip", "version": "2"})
    with pytest.raises(WeightsError) as error:
        read_header(path)
    assert str(error.value) == (
        f"{path} has format version 2; this vtr reads version 1; "
        "update vtr, or import the original weights again (`vtr models import`)"
    )


def test_a_file_that_is_cut_short_is_damaged(tmp_path):
    path = write_tiny_clip(tmp_path / "tiny.safetensors")
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(WeightsError, match=r"cannot be read: .*; delete it, then import or pull"):
        read_header(path)


def test_a_header_that_lacks_a_field_is_damaged(tmp_path):
    path = _file(tmp_path / "old", {"format": "vtr-clip", "version": "1", "name": "x"})
    with pytest.raises(WeightsError, match="the header lacks 'sha256'"):
        read_header(path)
