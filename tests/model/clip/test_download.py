"""Downloads: resumed, checked, reported; without a network, one line says what to do."""

from __future__ import annotations

import errno
import hashlib
import os

import pytest

from tests.model.clip.file_server import serving
from vtrcli.errors import WeightsError
from vtrcli.model.clip.download import KnownModel, download

_CONTENT = bytes(range(256)) * 12_000  # 3 MB: several chunks


def _model(url, content=_CONTENT):
    return KnownModel(
        name="ViT-B/32",
        file_name="ViT-B-32.pt",
        sha256=hashlib.sha256(content).hexdigest(),
        dim=512,
        input_size=224,
        base_url=url,
    )


def test_a_file_arrives_whole_with_progress(tmp_path):
    target, seen = tmp_path / "ViT-B-32.pt", []
    with serving(_CONTENT) as server:
        assert download(_model(server.url), target, progress=lambda *pair: seen.append(pair)) == target
    assert target.read_bytes() == _CONTENT
    assert seen == sorted(seen)
    assert seen[-1] == (len(_CONTENT), len(_CONTENT))
    assert [path.name for path in tmp_path.iterdir()] == ["ViT-B-32.pt"]


def test_a_broken_connection_is_taken_up_where_it_broke(tmp_path):
    seen = []
    with serving(_CONTENT, breaks=[1_500_000, 700_000]) as server:
        download(_model(server.url), tmp_path / "a.pt", progress=lambda *pair: seen.append(pair))
        assert server.ranges == [None, "bytes=1500000-", "bytes=2200000-"]
    assert (tmp_path / "a.pt").read_bytes() == _CONTENT
    assert {total for _, total in seen} == {len(_CONTENT)}


def test_a_part_of_an_earlier_run_is_completed(tmp_path):
    (tmp_path / "a.pt.part").write_bytes(_CONTENT[:1000])
    with serving(_CONTENT) as server:
        download(_model(server.url), tmp_path / "a.pt")
        assert server.ranges == ["bytes=1000-"]
    assert (tmp_path / "a.pt").read_bytes() == _CONTENT


def test_a_part_that_was_already_whole_is_taken(tmp_path):
    (tmp_path / "a.pt.part").write_bytes(_CONTENT)
    with serving(_CONTENT) as server:
        download(_model(server.url), tmp_path / "a.pt")
    assert (tmp_path / "a.pt").read_bytes() == _CONTENT


def test_a_server_without_ranges_starts_anew(tmp_path):
    (tmp_path / "a.pt.part").write_bytes(b"x" * 1000)
    with serving(_CONTENT, knows_ranges=False) as server:
        download(_model(server.url), tmp_path / "a.pt")
    assert (tmp_path / "a.pt").read_bytes() == _CONTENT


def _to_do(model, target):
    return f"put a.pt (SHA-256 {model.sha256}) into {target.parent}, or pass --backbone FILE"


def test_other_content_is_thrown_away(tmp_path):
    page = b"<html>please log in</html>"
    with serving(page) as server:
        model = _model(server.url)
        with pytest.raises(WeightsError) as error:
            download(model, tmp_path / "a.pt")
    assert str(error.value) == (
        f"cannot download ViT-B/32 (what came has SHA-256 {hashlib.sha256(page).hexdigest()}); "
        f"it comes from {model.url}; {_to_do(model, tmp_path / 'a.pt')}"
    )
    assert list(tmp_path.iterdir()) == []


def test_a_connection_that_brings_nothing_more_leaves_a_part_for_the_next_run(tmp_path):
    with serving(_CONTENT, breaks=[100, 100, 0]) as server, pytest.raises(WeightsError) as error:
        download(_model(server.url), tmp_path / "a.pt")
    assert error.value.came_in == "cannot download ViT-B/32 (the connection broke)"
    assert (tmp_path / "a.pt.part").read_bytes() == _CONTENT[:200]


def test_without_a_network_one_line_says_which_file_to_put_where(tmp_path):
    with serving(b"") as server:
        model = _model(server.url)
    with pytest.raises(WeightsError) as error:  # nobody listens there any more
        download(model, tmp_path / "a.pt", timeout_seconds=2)
    assert str(error.value) == (
        f"cannot download ViT-B/32 ([Errno {errno.ECONNREFUSED}] {os.strerror(errno.ECONNREFUSED)}); "
        f"it comes from {model.url}; {_to_do(model, tmp_path / 'a.pt')}"
    )
    assert "\n" not in str(error.value)


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    with serving(_CONTENT) as server, pytest.raises(WeightsError) as error:
        download(_model(server.url), tmp_path / "none" / "a.pt")
    assert str(error.value) == (
        f"cannot write {tmp_path}/none/a.pt.part: No such file or directory; weights need some hundred megabytes in a "
        "folder that can be written; free some space there or choose another cache folder, then run the same "
        "command again"
    )
