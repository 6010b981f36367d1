"""The parts of clip-anytorch that vtr uses: its model definition and its tokenizer.

`import clip` fails on a current Python (it wants pkg_resources and torchvision), but `clip/model.py` and
`clip/simple_tokenizer.py` need neither. They are loaded by their place on disk, and the package's
`__init__` never runs. Weights, downloading and preprocessing are left to the other modules of this folder.
"""

from __future__ import annotations

import importlib.util
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from vtrcli.errors import WeightsError


@cache
def clip_model_module() -> ModuleType:
    """`clip.model`: the one definition of CLIP (imports torch)."""
    return _load("model")


@cache
def clip_tokenizer() -> Any:
    """CLIP's byte-pair tokenizer; made once per process, because reading its vocabulary takes 0.1 s."""
    return _load("simple_tokenizer").SimpleTokenizer()


def _load(module_name: str) -> ModuleType:
    package = importlib.util.find_spec("clip")  # finds the folder, executes nothing
    for folder in (package.submodule_search_locations or []) if package else []:
        path = Path(folder) / f"{module_name}.py"
        spec = importlib.util.spec_from_file_location(f"vtrcli.model.clip_{module_name}", path)
        if path.is_file() and spec and spec.loader:
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
            return module
    raise WeightsError(
        f"clip/{module_name}.py was not found",
        allowed="the package clip-anytorch 2.6 or later must be installed",
        to_do="run: python -m pip install 'clip-anytorch>=2.6'",
    )
