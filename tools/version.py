"""The version stands in several places: say whether all agree, or write a new one into all.

python tools/version.py            prints the version; fails, and says where, if places differ
python tools/version.py 0.4.0      writes it everywhere, the changelog's first heading too
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

PLACES = {
    "pyproject.toml": r'^version = "(.+)"$',
    "headrace/__init__.py": r'^__version__ = "(.+)"$',
    "services/api/Dockerfile": r"^ARG VERSION=(.+)$",
    "services/worker/Dockerfile": r"^ARG VERSION=(.+)$",
    "controller/Dockerfile": r"^ARG VERSION=(.+)$",
    "charts/headrace/Chart.yaml": r"^(?:version|appVersion): (.+)$",
    "docs/images.md": r"^FROM \S+/headrace-worker:(.+)$",
    "CHANGELOG.md": r"\A# (?:.|\n)*?^## (?:\[Unreleased\] – )?(\d[^ \n]*)",
}
"""File → where the version stands in it. The chart has it twice: of the chart and of its images."""

_VERSION = re.compile(r"\d+\.\d+\.\d+")


def versions() -> dict[str, list[str]]:
    """File → the versions that it names: none where the place has gone."""
    return {
        file: re.findall(pattern, (ROOT / file).read_text(encoding="utf-8"), re.MULTILINE)
        for file, pattern in PLACES.items()
    }


def check() -> str:
    """The version. Raises ValueError, with what each file names, unless all name the same."""
    found = versions()
    named = {version for of_file in found.values() for version in of_file}
    if len(named) == 1 and all(found.values()):
        return named.pop()
    lines = [f"  {file}: {', '.join(named) or 'none'}" for file, named in found.items()]
    raise ValueError(
        "The places of the version differ. Write one into all: python tools/version.py 1.2.3\n"
        + "\n".join(lines)
    )


def write(version: str) -> None:
    """Write a version into all places. Raises ValueError for what is not a version."""
    if not _VERSION.fullmatch(version):
        raise ValueError(f"{version} is not a version: write it as 1.2.3")
    for file, pattern in PLACES.items():
        path = ROOT / file
        text = path.read_text(encoding="utf-8")
        for match in reversed(list(re.finditer(pattern, text, re.MULTILINE))):
            text = text[: match.start(1)] + version + text[match.end(1) :]
        path.write_text(text, encoding="utf-8")


def main() -> None:
    """Check, or write."""
    try:
        for version in sys.argv[1:2]:
            write(version)
        print(check())
    except ValueError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
