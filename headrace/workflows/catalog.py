"""The workflows in a folder, by id, kept in step with the folder's files.

A Kubernetes ConfigMap is mounted as links through a folder `..data`, which is replaced as a whole;
names that begin with a dot are therefore no definitions.

An error is never read as an answer: a folder that cannot be looked into has not lost its
definitions, and those that were read before stay in use.
"""

from __future__ import annotations

import errno
import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from headrace.workflows.checker import Checker
from headrace.workflows.definition import Workflow, parse, version_key
from headrace.workflows.errors import DefinitionError

SUFFIXES = (".yaml", ".yml", ".json")

_NOT_THERE = (errno.ENOENT, errno.ENOTDIR)
_PROCESS_SHORT = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)
"""This process lacks something: that says nothing of a file that it could not open."""

# What is compared to see that a folder has changed: name, inode, size and time of each file, and
# where the link of a ConfigMap's data leads.
_Fingerprint = tuple[object, ...]


@dataclass(frozen=True, slots=True)
class _Content:
    """What a folder held when it was read, replaced as one."""

    fingerprint: _Fingerprint
    versions: dict[str, dict[str, Workflow]]
    latest: dict[str, Workflow]
    errors: list[DefinitionError]
    parsed: dict[tuple[str, str], Workflow | DefinitionError]


class Catalog:
    """The definitions of a folder. A broken file is listed in `errors`; the others stay usable."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            self._content = self._read({})
        except OSError as error:
            self._content = _Content((), {}, {}, [_unreadable(folder, error)], {})

    @classmethod
    def load(cls, folder: Path) -> Catalog:
        """Read a folder. One that cannot be read is an error in the list, not an exception."""
        return cls(folder)

    @property
    def workflows(self) -> MappingProxyType[str, Workflow]:
        """Each workflow's latest version, by id."""
        return MappingProxyType(self._content.latest)

    @property
    def errors(self) -> list[DefinitionError]:
        """Why files, or all files of one name and version, were left out."""
        return list(self._content.errors)

    def get(self, workflow_id: str, version: str | None = None) -> Workflow | None:
        """A workflow: this version of it, or the latest."""
        if version is None:
            return self._content.latest.get(workflow_id)
        return self._content.versions.get(workflow_id, {}).get(version)

    def by_sha256(self, sha256: str) -> Workflow | None:
        """The workflow whose text has this hash, whatever its id or version."""
        every = (one for found in self._content.versions.values() for one in found.values())
        return next((one for one in every if one.sha256 == sha256), None)

    def refresh(self) -> bool:
        """Read the folder again if it has changed, and tell whether it had.

        Looks at names and times only, some microseconds a file, and reads only what is new.
        Raises OSError when that cannot be done now; then everything stays as it was.
        """
        if fingerprint(self.folder) == self._content.fingerprint:
            return False
        self._content = self._read(self._content.parsed)
        return True

    def _read(self, known: dict[tuple[str, str], Workflow | DefinitionError]) -> _Content:
        # Taken first: what changes while the files are read is seen by the next refresh.
        before = fingerprint(self.folder)
        errors: list[DefinitionError] = []
        parsed: dict[tuple[str, str], Workflow | DefinitionError] = {}
        workflows: list[Workflow] = []
        with Checker() as checker:
            for path in _files(self.folder, errors):
                try:
                    text = path.read_bytes()
                except OSError as error:
                    if error.errno in _PROCESS_SHORT:
                        raise
                    reason = f"the file cannot be read: {error.strerror}"
                    errors.append(DefinitionError(path.name, None, None, reason))
                    continue
                key = (path.name, hashlib.sha256(text).hexdigest())
                outcome = known.get(key) or _parse(text, path.name, checker)
                parsed[key] = outcome
                if isinstance(outcome, Workflow):
                    workflows.append(outcome)
                else:
                    errors.append(outcome)
        versions = _by_version(workflows, errors)
        latest = {
            name: max(found.values(), key=lambda workflow: version_key(workflow.version))
            for name, found in versions.items()
        }
        return _Content(before, versions, latest, errors, parsed)


def fingerprint(folder: Path) -> _Fingerprint:
    """What changes when a folder's definitions do. Raises OSError."""
    found: list[object] = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if not _is_definition(entry.name):
                    continue
                try:
                    status = entry.stat()
                except OSError:
                    found.append((entry.name,))
                    continue
                found.append((entry.name, status.st_ino, status.st_size, status.st_mtime_ns))
    except OSError as error:
        if error.errno not in _NOT_THERE:
            raise
        return (error.errno,)
    return (os.path.realpath(folder / "..data"), *sorted(found, key=repr))


def _is_definition(name: str) -> bool:
    return name.endswith(SUFFIXES) and not name.startswith(".")


def _files(folder: Path, errors: list[DefinitionError]) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if _is_definition(path.name))
    except OSError as error:
        if error.errno not in _NOT_THERE:
            raise
        errors.append(_unreadable(folder, error))
        return []


def _unreadable(folder: Path, error: OSError) -> DefinitionError:
    reason = f"the folder of workflows cannot be read: {error.strerror}; see WORKFLOWS_DIR"
    return DefinitionError(str(folder), None, None, reason)


def _parse(text: bytes, file: str, checker: Checker) -> Workflow | DefinitionError:
    try:
        return parse(text, file, checker)
    except DefinitionError as error:
        return error


def _by_version(
    workflows: list[Workflow], errors: list[DefinitionError]
) -> dict[str, dict[str, Workflow]]:
    """Workflows by id and version. Of two that share both neither is taken: which is meant?"""
    same: dict[tuple[str, str], list[Workflow]] = {}
    for workflow in workflows:
        same.setdefault((workflow.id, workflow.version), []).append(workflow)
    versions: dict[str, dict[str, Workflow]] = {}
    for (name, version), found in same.items():
        if len(found) == 1:
            versions.setdefault(name, {})[version] = found[0]
            continue
        files = " and ".join(workflow.source for workflow in found)
        reason = f"{files} both define workflow {name!r} in version {version}: change or remove one"
        errors.append(DefinitionError(found[-1].source, None, None, reason))
    return versions
