"""`make help` tells of every target there is."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

from tests.servers import absent

ROOT = Path(__file__).parents[2]


def test_help_explains_every_target() -> None:
    if shutil.which("make") is None:
        absent("make is not on PATH")
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", text, re.MULTILINE))
    assert {"dev", "test", "check"} <= targets
    done = subprocess.run(
        ["make", "help"], cwd=ROOT, check=True, capture_output=True, text=True, timeout=30
    )
    explained = dict(re.findall(r"^ +make (\S+) +(\S.*)$", done.stdout, re.MULTILINE))
    assert set(explained) == targets
