"""open_clip where torch and torchvision of the registry do not fit, and tiny folders in its layout."""

from __future__ import annotations

import sys
import types
import warnings
from pathlib import Path

import pytest

from tests.model.open_clip.folders import CONFIGS, write_folder


@pytest.fixture(scope="session", autouse=True)
def _open_clip() -> None:
    """Makes `import open_clip` work beside the registry's torch for CPUs: its torchvision is built for CUDA, and fails
    with "operator torchvision::nms does not exist". Without that module nothing asks for the operator, which no model
    here uses. A crutch for tests: the product says which torchvision to install."""
    name = "torchvision._meta_registrations"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what these packages deprecate at import is no affair of a test
        try:
            import torchvision  # noqa: F401
        except RuntimeError:
            for module in [key for key in sys.modules if key.partition(".")[0] == "torchvision"]:
                del sys.modules[module]
            sys.modules[name] = types.ModuleType(name)
        import open_clip  # noqa: F401


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory, _open_clip: None) -> dict[str, Path]:
    """Kind -> a folder of random weights. Nothing may write to it."""
    root = tmp_path_factory.mktemp("open_clip")
    return {kind: write_folder(root / kind, kind) for kind in CONFIGS}
