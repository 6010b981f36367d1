"""Counts the house: lines, modules, import chains and arrows; and which files four common ways lead through.

    python tools/house.py                    the figures of the code as it lies here
    python tools/house.py walks [FOLDER]     the four walks, on a demo project (made in FOLDER unless it is there)

A module imports what it names anywhere, inside functions too. A file is visited when one of its functions runs;
what runs only because a module is imported does not count there, but does among the modules imported.
"""

from __future__ import annotations

import argparse
import ast
import graphlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Collection
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "vtrcli"
# name -> (code to run in the demo's folder, most files it should visit)
WALKS = {
    "extract of one video": (
        "import vtrcli as vtr; vtr.extract('videos/{video}', '{scratch}/store', backbone='demo')",
        24,
    ),
    "search with the run": (
        "import sys; sys.argv[1:] = ['search', 'a red circle', '--store', '{store}', '--json'];"
        " from vtrcli.cli.app import main; main()",
        45,
    ),
    "eval of a matrix": (
        "import vtrcli as vtr, numpy as np; vtr.evaluate(np.eye(20, dtype='f4'), dsl=True)",
        11,
    ),
    "an epoch of training": (
        "import vtrcli as vtr; vtr.train('{store}', dataset='csv', annotations='.', out='{scratch}/run',"
        " recipe='demo', epochs=1)",
        25,
    ),
}
_TRACER = """
import json, sys, threading
visited, package, importing = {{}}, {package!r}, threading.local()
def note(frame, event, argument):
    code = frame.f_code
    if event not in ("call", "return") or not code.co_filename.startswith(package):
        return
    depth = getattr(importing, "depth", 0)
    if code.co_name == "<module>":  # what a module runs when it is imported does not count
        importing.depth = depth + (1 if event == "call" else -1)
    elif event == "call" and not depth:
        visited.setdefault(code.co_filename[len(package) + 1:])
threading.setprofile(note); sys.setprofile(note)
try:
    exec({code!r})
finally:
    sys.setprofile(None)
    imported = [name for name in sys.modules if name.split(".")[0] == "vtrcli"]
    json.dump({{"visited": list(visited), "imported": imported}}, open({answer!r}, "w"))
"""


def modules() -> dict[str, Path]:
    """Dotted name -> file, of every module that holds anything."""
    names = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        dotted = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        if path.stat().st_size:
            names[dotted] = path
    return names


def graph() -> dict[str, set[str]]:
    """Module -> the modules that it imports, wherever the import stands, for type checkers too."""
    known = modules()
    return {name: imported(path, known) - {name} for name, path in known.items()}


def imported(path: Path, known: Collection[str]) -> set[str]:
    """What a file imports of the `known` modules; `from a import b` is a.b where that is a module, else a.

    The package's version does not count: it is there before any of its modules.
    """
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            whole = {f"{node.module}.{alias.name}" for alias in node.names}
            names |= {name if name in known else node.module for name in whole - {"vtrcli.__version__"}}
    return names & set(known)


def longest_chain(arrows: dict[str, set[str]]) -> list[str]:
    """The longest way down. Raises graphlib.CycleError, which names the circle, where there is one."""
    below: dict[str, list[str]] = {}
    for name in graphlib.TopologicalSorter(arrows).static_order():
        below[name] = [name, *max((below[target] for target in arrows[name]), key=len, default=[])]
    return max(below.values(), key=len)


def room_of(dotted: str) -> str:
    """vtrcli.store.shard -> store; vtrcli.errors -> errors; the face is vtrcli."""
    return dotted.split(".")[1] if "." in dotted else dotted


def room_arrows(arrows: dict[str, set[str]]) -> set[tuple[str, str]]:
    """Which room imports from which."""
    pairs = {(room_of(name), room_of(target)) for name, targets in arrows.items() for target in targets}
    return {(above, below) for above, below in pairs if above != below}


def walk(name: str, demo: Path) -> dict[str, list[str]]:
    """Run one walk in a process of its own: the files visited, in order, and the modules imported."""
    code, _ = WALKS[name]
    with tempfile.TemporaryDirectory() as scratch:
        answer = Path(scratch, "answer.json")
        first = sorted(path.name for path in (demo / "videos").iterdir())[0]
        code = code.format(video=first, scratch=scratch, store=demo / "store")
        program = _TRACER.format(package=str(PACKAGE), code=code, answer=str(answer))
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": scratch}
        # The prints are the command's; what goes wrong is shown.
        subprocess.run(
            [sys.executable, "-c", program], cwd=demo, env=environment, check=True, stdout=subprocess.DEVNULL
        )
        found: dict[str, list[str]] = json.loads(answer.read_text(encoding="utf-8"))
    return found


def num_prose_lines(text: str) -> int:
    """Lines of docstrings and of comments that stand alone."""
    num_lines = sum(line.lstrip().startswith("#") for line in text.splitlines())
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and ast.get_docstring(node):
            num_lines += (node.body[0].end_lineno or 0) - node.body[0].lineno + 1
    return num_lines


def show_figures() -> None:
    """The figures of the code, one a line, and the rooms by size."""
    arrows = graph()
    texts = {name: path.read_text(encoding="utf-8") for name, path in modules().items()}
    lines = {name: len(text.splitlines()) for name, text in texts.items()}
    importers = {name: sum(name in targets for targets in arrows.values()) for name in arrows}
    try:
        chain = longest_chain(arrows)
    except graphlib.CycleError as error:
        chain = ["CIRCLE", *error.args[1]]
    longest = max(lines, key=lambda name: lines[name])
    prose = sum(map(num_prose_lines, texts.values()))
    print(f"lines      {sum(lines.values()):,}, {prose / sum(lines.values()):.0%} docstrings and comments")
    median = statistics.median(lines.values())
    print(f"modules    {len(lines)} (median {median:g} lines, longest {longest}: {lines[longest]})")
    print(f"one importer  {sum(count == 1 for count in importers.values())} modules")
    print(f"arrows     {len(room_arrows(arrows))} between rooms")
    print(f"chain      {len(chain)}: {' -> '.join(name.removeprefix('vtrcli.') for name in chain)}")
    rooms = {room: [name for name in lines if room_of(name) == room] for room in map(room_of, lines)}
    for room, names in sorted(rooms.items(), key=lambda item: -sum(lines[name] for name in item[1])):
        print(f"   {room:12} {sum(lines[name] for name in names):6,} lines in {len(names)}")


def show_walks(demo: Path) -> None:
    """Files visited and modules imported, per walk."""
    if not (demo / "vtr.toml").exists():
        subprocess.run([sys.executable, "-m", "vtrcli", "demo", "--out", str(demo), "--quiet"], check=True)
    for name, (_, most) in WALKS.items():
        found = walk(name, demo)
        print(
            f"{name}: {len(found['visited'])} files (aim {most}), {len(found['imported'])} modules imported"
        )
        print("   " + " > ".join(file.removesuffix(".py") for file in found["visited"]))


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", nargs="?", choices=["figures", "walks"], default="figures")
    parser.add_argument("folder", nargs="?", type=Path, default=ROOT / "demo")
    chosen = parser.parse_args()
    if chosen.what == "figures":
        show_figures()
    else:
        show_walks(chosen.folder.resolve())


if __name__ == "__main__":
    main()
