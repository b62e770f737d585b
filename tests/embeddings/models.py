"""The packages of `make models`, for the tests that run models; without them they are skipped."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import pytest

__all__ = ("TINY_CLIP", "need", "need_open_clip", "register_tiny_clip")

VISION = Path(sys.prefix) / "vision"
TINY_CLIP = "tiny-clip"

_TINY = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 32, "patch_size": 8, "head_width": 16},
    "text_cfg": {"context_length": 32, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2},
}


def need(*packages: str) -> None:
    """Skip the test unless all these packages are installed."""
    for package in packages:
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed: make models")


def need_open_clip() -> Any:
    """Import open_clip, or skip the test.

    The build of torchvision that there is wants CUDA's libraries for its operations. OpenCLIP
    scales images without any, but to import torchvision two of them must have been declared.
    """
    need("torch")
    if not (VISION / "torchvision").is_dir():
        pytest.skip("torchvision is not installed: make models")
    if str(VISION) not in sys.path:
        import torch  # noqa: PLC0415

        sys.path.append(str(VISION))
        library: Any = torch.library.Library
        _declared.append(library("torchvision", "DEF"))
        for name in ("nms", "qnms"):
            _declared[0].define(f"{name}(Tensor boxes, Tensor scores, float threshold) -> Tensor")
    import open_clip  # noqa: PLC0415

    return open_clip


_declared: list[Any] = []
"""Kept: what a library declares goes with it."""


def register_tiny_clip(directory: Path) -> Path:
    """Make an architecture known as `TINY_CLIP`, and return a file of random weights for it."""
    open_clip = need_open_clip()
    import torch  # noqa: PLC0415

    (directory / f"{TINY_CLIP}.json").write_text(json.dumps(_TINY), encoding="utf-8")
    open_clip.add_model_config(directory)
    torch.manual_seed(5)
    weights = directory / f"{TINY_CLIP}.pt"
    torch.save(open_clip.create_model(TINY_CLIP).state_dict(), weights)
    return weights
