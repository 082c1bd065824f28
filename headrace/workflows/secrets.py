"""The secrets of definitions: where their values come from, and what is wrong with one."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from headrace.logs.redaction import MIN_LENGTH, Redactor, hidden
from headrace.workflows.errors import fail

MAX_BYTES = 65_536
"""Of one secret."""
DEFAULT_PREFIX = "WORKFLOW_SECRET_"


@dataclass(frozen=True, slots=True)
class SecretSource:
    """Where secrets are: files of a folder, then environment variables.

    folder: each file holds the secret of its name.
    prefix: of the variables; `apiKey` is in `WORKFLOW_SECRET_APIKEY`.
    """

    folder: Path | None = None
    prefix: str = DEFAULT_PREFIX
    environment: Mapping[str, str] = field(default_factory=lambda: os.environ, repr=False)

    def read(self, name: str) -> Any:
        """The secret: text, or data where it is a JSON object. None: it is nowhere.

        Raises WorkflowError for one that cannot be used.
        """
        text = self._text(name)
        if text is None:
            return None
        value: Any = text
        if text.startswith("{"):
            try:
                value = msgspec.json.decode(text)
            except msgspec.DecodeError:
                value = text
        if any(len(part) < MIN_LENGTH for part in _texts(value)):
            fail(
                "authorization",
                f"the secret {name!r} is shorter than {MIN_LENGTH} characters, or a part of it is: "
                "it could not be hidden in logs and results",
            )
        return value

    def _text(self, name: str) -> str | None:
        if self.folder is not None:
            try:
                with (self.folder / name).open("rb") as file:
                    return _decoded(name, file.read(MAX_BYTES + 1))
            except FileNotFoundError:
                pass
            except OSError as error:
                fail("authorization", f"the secret {name!r} cannot be read: {error.strerror}")
        variable = self.prefix + re.sub(r"[^A-Za-z0-9]", "_", name).upper()
        return self.environment.get(variable)


class RunSecrets:
    """The secrets that one workflow declares, read when they are first needed."""

    def __init__(self, source: SecretSource, names: Iterable[str]) -> None:
        self._source = source
        self._names = tuple(names)
        self._values: dict[str, Any] | None = None
        self._redactor = Redactor()

    def values(self) -> dict[str, Any]:
        """Each by its name. Raises WorkflowError when one is absent, or cannot be used."""
        found = self._read()
        for name in self._names:
            if found.get(name) is None:
                fail(
                    "authorization",
                    f"the secret {name!r} is declared in `use.secrets`, and is not there: see "
                    "WORKFLOW_SECRETS_DIR and WORKFLOW_SECRETS_PREFIX",
                )
        return found

    @property
    def redactor(self) -> Redactor:
        """Hides those that are there."""
        if self._names:
            self._read()
        return self._redactor

    def _read(self) -> dict[str, Any]:
        if self._values is None:
            values = {name: self._source.read(name) for name in self._names}
            texts = list(_texts(values))
            self._redactor.add(texts)
            hidden.add(texts)
            self._values = values
        return self._values


def _texts(value: Any) -> Iterator[str]:
    """All that is secret in a value. Numbers in data count as texts."""
    if isinstance(value, dict):
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)
    elif isinstance(value, str):
        yield value
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield str(value)


def _decoded(name: str, content: bytes) -> str:
    if len(content) > MAX_BYTES:
        fail("authorization", f"the secret {name!r} has more than {MAX_BYTES} bytes")
    try:
        # Editors and `echo` end a file with a line feed, which is no part of the secret.
        return content.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        fail("authorization", f"the secret {name!r} is not UTF-8 text")
