"""Definitions: one by its text, and those in a folder, by id, kept in step with its files.

A Kubernetes ConfigMap is mounted as links through a folder `..data`, which is replaced as a whole;
names that begin with a dot are therefore no definitions.

An error is never read as an answer: a folder that cannot be looked into has not lost its
definitions, and those that were read before stay in use. Whatever is wrong with one file, the
others do not notice.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from headrace.workflows.errors import DefinitionError
from headrace.workflows.expressions import Checker
from headrace.workflows.model import CalledFunction, Workflow
from headrace.workflows.reading import (
    MAX_SOURCE_BYTES,
    hyphened,
    read_definition,
    too_large,
    version_key,
)
from headrace.workflows.steps import STEP_TYPES

NO_FUNCTIONS: Mapping[str, CalledFunction] = MappingProxyType({})
SUFFIXES = (".yaml", ".yml", ".json")

_NOT_THERE = (errno.ENOENT, errno.ENOTDIR)
_PROCESS_SHORT = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)
"""This process lacks something: that says nothing of a file that it could not open."""

# What is compared to see that a folder has changed: name, inode, size and times of each file, and
# where the link of a ConfigMap's data leads. The time of the last `chmod` counts, too.
_Fingerprint = tuple[object, ...]


def parse(
    text: bytes,
    source: str,
    checker: Checker | None = None,
    functions: Mapping[str, CalledFunction] = NO_FUNCTIONS,
) -> Workflow:
    """Read and check a definition. Raises DefinitionError naming file, line and task.

    `source` is what error messages call it, such as the file's name. A `checker` is handed in to
    share its process between definitions. `functions` are those that it may call in place.
    """
    if checker is None:
        with Checker() as checker:
            return parse(text, source, checker, functions)
    return read_definition(text, source, STEP_TYPES, checker, functions)


def check_file(
    path: Path, functions: Mapping[str, CalledFunction] = NO_FUNCTIONS
) -> tuple[list[Workflow], list[DefinitionError]]:
    """Read one file: the workflow in it, or all that is wrong with it. Errors name the path."""
    try:
        return [parse(_read_file(path, str(path)), str(path), functions=functions)], []
    except DefinitionError as error:
        return [], [error, *error.others]
    except OSError as error:
        reason = f"the file cannot be read: {error.strerror}"
        return [], [DefinitionError(str(path), None, None, reason)]


@dataclass(frozen=True, slots=True)
class _Content:
    """What a folder held when it was read, replaced as one."""

    fingerprint: _Fingerprint | None
    """None: a file could not be read, and is retried at each refresh."""
    versions: dict[str, dict[str, Workflow]]
    latest: dict[str, Workflow]
    errors: list[DefinitionError]
    parsed: dict[tuple[str, str], Workflow | DefinitionError]

    @property
    def shown(self) -> tuple[object, ...]:
        """What its users can see of it."""
        return self.versions, [str(error) for error in self.errors]


class Catalog:
    """The definitions of a folder. A broken file is listed in `errors`; the others stay usable."""

    def __init__(
        self, folder: Path, functions: Mapping[str, CalledFunction] = NO_FUNCTIONS
    ) -> None:
        self.folder = folder
        self.functions = functions
        """Those that its definitions may call in place, by name."""
        try:
            self._content = self._read({})
        except OSError as error:
            self._content = _Content(None, {}, {}, [_unreadable(folder, error)], {})

    @classmethod
    def load(cls, folder: Path, functions: Mapping[str, CalledFunction] = NO_FUNCTIONS) -> Catalog:
        """Read a folder. One that cannot be read is an error in the list, not an exception."""
        return cls(folder, functions)

    @property
    def workflows(self) -> MappingProxyType[str, Workflow]:
        """Each workflow's latest version, by id."""
        return MappingProxyType(self._content.latest)

    @property
    def errors(self) -> list[DefinitionError]:
        """Why files, or all files of one name and version, were left out."""
        return list(self._content.errors)

    def get(self, workflow_id: str, version: str | None = None) -> Workflow | None:
        """A workflow: this version of it, or the latest. `my_flow` finds `my-flow`, too."""
        name = hyphened(workflow_id)
        if version is None:
            return self._content.latest.get(name)
        return self._content.versions.get(name, {}).get(version)

    def versions(self, workflow_id: str) -> list[str]:
        """The versions of a workflow that can be used, the latest first."""
        found = self._content.versions.get(hyphened(workflow_id), {})
        return sorted(found, key=version_key, reverse=True)

    def by_sha256(self, sha256: str) -> Workflow | None:
        """The workflow whose text has this hash, whatever its id or version."""
        every = (
            workflow for found in self._content.versions.values() for workflow in found.values()
        )
        return next((workflow for workflow in every if workflow.definition_sha256 == sha256), None)

    def refresh(self) -> bool:
        """Read the folder again if it has changed, and tell whether it had.

        Looks at names and times only, some microseconds a file, and reads only what is new.
        Raises OSError when that cannot be done now; then everything stays as it was.
        """
        if fingerprint(self.folder) == self._content.fingerprint:
            return False
        before, self._content = self._content, self._read(self._content.parsed)
        return self._content.shown != before.shown

    def _read(self, parsed_before: dict[tuple[str, str], Workflow | DefinitionError]) -> _Content:
        # Taken first: what changes while the files are read is seen by the next refresh.
        before: _Fingerprint | None = fingerprint(self.folder)
        errors: list[DefinitionError] = []
        parsed: dict[tuple[str, str], Workflow | DefinitionError] = {}
        workflows: list[Workflow] = []
        with Checker() as checker:
            for path in _files(self.folder, errors):
                file = os.fsencode(path.name).decode("utf-8", "backslashreplace")
                try:
                    text = _read_file(path, file)
                except DefinitionError as error:
                    errors.append(error)
                    continue
                except OSError as error:
                    if error.errno in _PROCESS_SHORT:
                        raise
                    reason = f"the file cannot be read: {error.strerror}"
                    errors.append(DefinitionError(file, None, None, reason))
                    before = None
                    continue
                key = (file, hashlib.sha256(text).hexdigest())
                outcome = parsed_before.get(key) or self._parse(text, file, checker)
                parsed[key] = outcome
                if isinstance(outcome, Workflow):
                    workflows.append(outcome)
                else:
                    errors += (outcome, *outcome.others)
        versions = _by_version(workflows, errors)
        latest = {
            name: max(found.values(), key=lambda workflow: version_key(workflow.version))
            for name, found in versions.items()
        }
        return _Content(before, versions, latest, errors, parsed)

    def _parse(self, text: bytes, file: str, checker: Checker) -> Workflow | DefinitionError:
        try:
            return parse(text, file, checker, self.functions)
        except DefinitionError as error:
            return error
        except OSError:
            raise  # of the process that checks expressions: the file is not to blame
        except Exception as error:
            # A defect of ours, or of the parser: it must not take the other files away.
            return DefinitionError(file, None, None, f"it cannot be read: {error!r}")


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
                times = (status.st_mtime_ns, status.st_ctime_ns)
                found.append((entry.name, status.st_ino, status.st_size, times))
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


def _read_file(path: Path, file: str) -> bytes:
    """A file's bytes. Raises OSError, and DefinitionError for what can be no definition."""
    # Without O_NONBLOCK a FIFO would keep us waiting for somebody who writes into it.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise DefinitionError(file, None, None, "this is not a regular file")
        if status.st_size > MAX_SOURCE_BYTES:
            raise too_large(file, status.st_size)
        with open(descriptor, "rb", closefd=False) as opened:
            return opened.read(MAX_SOURCE_BYTES + 1)
    finally:
        os.close(descriptor)


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
        errors.append(DefinitionError(found[-1].source, None, None, reason, workflow_id=name))
    return versions
