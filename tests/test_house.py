"""The rules of the house that can be checked: import direction, no cycle, nothing heavy before it is needed."""

from __future__ import annotations

import graphlib
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tools.house import PACKAGE, ROOT, WALKS, graph, imported, longest_chain, modules, room_of, walk

MAX_MODULE_LINES = 500
# Rooms from top to bottom; a room imports from its own line and from lines below it.
FLOORS = [
    {"__main__"},
    {"cli"},
    {"demo", "milvus", "serve"},
    {"vtrcli"},
    {"api"},
    {"searching", "evaluation", "training", "extraction"},
    {"moments"},
    {"ranking"},
    {"video", "store", "model", "datasets", "text"},
    {"files", "preprocessing", "text_files", "times", "written", "html"},
    {"errors"},
]
# Use cases: what they share lies below them.
SIDE_BY_SIDE = {"evaluation", "training", "extraction", "searching"}
FLOOR_OF = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}


MAX_CHAIN = 16
MOST_IMPORTED = 55  # modules of a search with a run, those of the command line among them
# Files that the walks of tools/house.py may visit; what is aimed at stands there.
MOST_VISITED = {
    # With what others read of its progress, a worker of its own, what needs nothing, batches on a device,
    # what its store demands, frames that are like the one before, and CLIP's image tower of its own.
    "extract of one video": 39,
    "search with the run": 50,  # with the look for a server that runs, and a text tower that needs no torch
    "eval of a matrix": 10,
    "an epoch of training": 35,
}


@pytest.fixture(scope="module")
def arrows() -> dict[str, set[str]]:
    """Module -> the modules that it imports."""
    return graph()


@pytest.mark.parametrize("name", sorted(modules()))
def test_imports_go_down_and_modules_stay_small(name: str, arrows: dict[str, set[str]]) -> None:
    room = room_of(name)
    assert room in FLOOR_OF, f"{room} has no floor: give it one in FLOORS"
    for target in arrows[name]:
        other = room_of(target)
        assert FLOOR_OF[other] >= FLOOR_OF[room], f"{name} imports {target}, which is above it"
        assert not {room, other} <= SIDE_BY_SIDE or room == other, (
            f"{name} imports {target}, another use case"
        )
    assert len(modules()[name].read_text(encoding="utf-8").splitlines()) <= MAX_MODULE_LINES


@pytest.mark.parametrize("family", ["clip", "open_clip"])
def test_a_family_of_backbones_is_known_to_the_table_alone(family: str, arrows: dict[str, set[str]]) -> None:
    """A family is a room of model/: nothing else imports from it, or its package, but families.py."""
    inside, table = f"vtrcli.model.{family}", "vtrcli.model.families"
    for name, targets in arrows.items():
        if name != table and not name.startswith(f"{inside}."):
            known = sorted(target for target in targets if target.startswith(inside))
            assert not known, f"{name} imports {known[0]}: ask vtrcli.model.backbone or {table}"
            text = modules()[name].read_text(encoding="utf-8")
            assert not re.search(rf"^\s*(import|from) {family}\b", text, re.MULTILINE), name
    assert any(target.startswith(inside) for target in arrows[table])


def test_a_head_is_known_to_the_table_alone(arrows: dict[str, set[str]]) -> None:
    """CAMoE is the head in model/camoe*.py: nothing else imports it but heads.py, so a second one is one more row."""
    inside, table = "vtrcli.model.camoe", "vtrcli.model.heads"
    for name, targets in arrows.items():
        if name != table and not name.startswith(inside):
            assert not [target for target in targets if target.startswith(inside)], f"{name}: ask {table}"
    assert any(target.startswith(inside) for target in arrows[table])


def test_there_is_no_import_cycle_and_no_long_way_down(arrows: dict[str, set[str]]) -> None:
    chain = longest_chain(arrows)  # a circle raises CycleError, which names it
    assert len(chain) <= MAX_CHAIN, " -> ".join(chain)


def test_the_page_about_the_house_names_files_that_are_there() -> None:
    page = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`((?:[a-z_]+/)+[a-z_]+\.py)`", page))
    assert len(named) > 50
    there = {path for path in named if (PACKAGE / path).is_file() or (ROOT / path).is_file()}
    # What a newcomer would add is not there yet.
    assert named - there == {"datasets/vatex.py"}


def test_a_circle_is_named() -> None:
    circle = {"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": set()}
    with pytest.raises(graphlib.CycleError) as caught:
        longest_chain(circle)
    assert set(caught.value.args[1]) == {"a", "b", "c"}
    assert longest_chain({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == ["a", "b", "c"]


def test_an_import_is_found_wherever_it_stands(tmp_path: Path) -> None:
    lines = (
        "from vtrcli import __version__",
        "from vtrcli.video import graph",
        "from vtrcli.errors import VtrError",
        "def later():",
        "    import vtrcli.files",
        "if TYPE_CHECKING:",
        "    from vtrcli.times import clock",
    )
    (tmp_path / "one.py").write_text("\n".join(lines))
    found = imported(tmp_path / "one.py", modules())
    assert found == {"vtrcli.video.graph", "vtrcli.errors", "vtrcli.files", "vtrcli.times"}


@pytest.mark.slow
@pytest.mark.parametrize("way", WALKS)
def test_a_walk_visits_no_more_files_than_it_did(way: str, demo: Path) -> None:
    """What `python tools/house.py walks` counts; a bound may sink, not rise."""
    found = walk(way, demo)
    assert found["visited"], way
    assert len(found["visited"]) <= MOST_VISITED[way], " > ".join(found["visited"])


@pytest.mark.slow
def test_a_search_with_a_run_imports_nothing_of_training_data_sets_or_decoding(demo: Path) -> None:
    """Not even for a text that was never asked before; of the video room only what tells whether a file is drawn."""
    shutil.rmtree(demo / "store" / "index" / "queries", ignore_errors=True)
    found = set(walk("search with the run", demo)["imported"])
    assert "vtrcli.searching.run" in found  # the run does rank
    needless = ("training", "datasets", "extraction", "evaluation", "demo", "video")
    assert {name for name in found if name.split(".")[1:2] in [[room] for room in needless]} <= {
        "vtrcli.video",
        "vtrcli.video.files",
    }
    assert len(found & modules().keys()) <= MOST_IMPORTED, sorted(found)


def test_help_loads_neither_torch_nor_numpy() -> None:
    code = (
        "import sys; from typer.testing import CliRunner; from vtrcli.cli.app import app; "
        "assert CliRunner().invoke(app, ['--help']).exit_code == 0; "
        "print([name for name in ('torch', 'numpy', 'safetensors', 'PIL', 'clip') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_search_loads_neither_torch_nor_what_only_extraction_needs() -> None:
    code = (
        "import sys; import vtrcli.cli.search, vtrcli.searching.searcher; "
        "heavy = ('torch', 'PIL', 'clip', 'pymilvus', 'vtrcli.text', 'vtrcli.video', 'vtrcli.model', "
        "'vtrcli.ranking'); "
        "print([name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_query_and_a_result_load_no_numpy() -> None:
    code = (
        "import sys; from vtrcli.searching.query import Query, SearchSettings; "
        "from vtrcli.searching.results import SearchResult; Query(text='a'), SearchSettings(); "
        "print('numpy' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
