"""The rules of the house that can be checked: import direction, no cycle, nothing heavy before it is needed."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "vtrcli"
MAX_MODULE_LINES = 500
# Rooms from top to bottom; a room imports from its own line and from lines below it.
FLOORS = [
    {"__main__"},
    {"cli"},
    {"demo", "milvus"},
    {"__init__"},
    {"api"},
    {"searching", "evaluation", "training", "extraction", "checking"},
    {"ranking"},
    {"video", "store", "model", "datasets", "text"},
    {"files", "text_files", "threads", "times", "html", "page"},
    {"errors"},
]
SIDE_BY_SIDE = {
    "evaluation",
    "training",
    "extraction",
    "searching",
}  # use cases: what they share lies below them
FLOOR_OF = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def room_of(dotted: str) -> str:
    parts = dotted.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


def imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "vtrcli":
            # The version is known before the face is.
            if [alias.name for alias in node.names] != ["__version__"]:
                names.add(node.module)
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names if alias.name.split(".")[0] == "vtrcli"}
    return names


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_down_and_modules_stay_small(path: Path) -> None:
    relative = path.relative_to(PACKAGE)
    room = relative.parts[0].removesuffix(".py")
    assert room in FLOOR_OF, f"{room} has no floor: give it one in FLOORS"
    for name in imported(path):
        other = room_of(name)
        assert FLOOR_OF[other] >= FLOOR_OF[room], f"{relative} imports {name}, which is above it"
        assert not {room, other} <= SIDE_BY_SIDE or room == other, (
            f"{relative} imports {name}, another use case"
        )
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MAX_MODULE_LINES


def test_there_is_no_import_cycle() -> None:
    graph = {
        ".".join(("vtrcli", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(
            ".__init__"
        ): imported(path)
        for path in modules()
    }
    done: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, " -> ".join((*trail, name))
        if name not in done:
            for target in graph.get(name, ()):
                visit(target, (*trail, name))
            done.add(name)

    for name in graph:
        visit(name, ())


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
        "heavy = ('torch', 'PIL', 'clip', 'pymilvus', 'vtrcli.text.cache', 'vtrcli.video.reader'); "
        "print([name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
