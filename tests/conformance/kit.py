"""Where the conformance data lies. It is read in place and not part of the project."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[2]


def conformance_dir() -> Path:
    """The folder, or a skip that says so; with HEADRACE_NO_SKIP=1 its absence is a failure."""
    folder = Path(os.environ.get("CONFORMANCE_DIR") or _ROOT.parent / "shared" / "conformance")
    if not (folder / "ctk" / "features").is_dir():
        sentence = f"the conformance kit is not at {folder}: set CONFORMANCE_DIR to where it is"
        if os.environ.get("HEADRACE_NO_SKIP") == "1":
            pytest.fail(sentence, pytrace=False)
        pytest.skip(sentence, allow_module_level=True)
    return folder
