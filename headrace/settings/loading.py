"""Reads a process's settings, and says in sentences what is wrong with them."""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from dotenv.parser import parse_stream
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails
from pydantic_settings import DotEnvSettingsSource

from headrace.settings.fields import ENV_FILE, ProcessSettings, field, names
from headrace.settings.processes import ApiSettings, WorkerSettings

NEAR_MISS_RATIO = 0.85
"""How alike (difflib's ratio) an unknown name must be to a known one to be warned of."""
NEAR_MISS_LENGTH = 6
"""Shorter names are never warned of: PORTS or HOSTS are too likely meant for someone else."""

AnySettings = TypeVar("AnySettings", bound=ProcessSettings)


def load(cls: type[AnySettings]) -> AnySettings:
    """Read a process's settings; on a mistake print a sentence for each and exit with status 2."""
    try:
        if unreadable := unreadable_lines():
            exit_with(unreadable)
        return cls()
    except ValidationError as error:
        exit_with(sentences(cls, error))
    except UnicodeDecodeError:
        exit_with([f"{ENV_FILE.resolve()} is not UTF-8 text: save it as UTF-8"])
    except OSError as error:
        exit_with([f"{error.filename or ENV_FILE.resolve()} cannot be read: {error.strerror}"])


def unreadable_lines(env_file: Path = ENV_FILE) -> list[str]:
    """A sentence for each line of `.env` that sets nothing although it is no comment.

    Raises OSError or UnicodeDecodeError when the file cannot be read.
    """
    if not env_file.is_file():
        return []
    ours = {name for cls in (ApiSettings, WorkerSettings) for name in names(cls).values()}
    found = []
    with env_file.open(encoding="utf-8") as stream:
        for line in parse_stream(stream):
            # The text is not shown: it may be a part of a secret.
            where = f"{env_file}, line {line.original.line}"
            if line.error:
                found.append(
                    f"{where}: this is neither NAME=value nor a comment that begins with #"
                )
            elif line.value is None and line.key in ours and line.key not in os.environ:
                found.append(f"{where}: {line.key} has no value: write {line.key}=value")
    return found


def sentences(cls: type[BaseModel], error: ValidationError) -> list[str]:
    """One sentence for each thing that is wrong: the setting, its value, what it must be."""
    names_by_field = names(cls)
    found = []
    for mistake in error.errors():
        path = next((p for p in names_by_field if p == mistake["loc"][: len(p)]), None)
        if path is None:  # it concerns several settings, and names them
            found.append(mistake["msg"].removeprefix("Value error, "))
            continue
        setting = field(cls, path)
        shown = setting.repr and isinstance(mistake["input"], str)
        value = f"={mistake['input']}" if shown else ""
        found.append(f"{names_by_field[path]}{value}: {_problem(mistake, setting)}")
    return list(dict.fromkeys(found))


def warn_near_misses(
    environ: Mapping[str, str] | None = None, env_file: Path = ENV_FILE
) -> list[str]:
    """A sentence for each name that looks like a misspelt setting, so that it has no effect.

    In `.env` every name is looked at; in the environment, which is full of other programs'
    variables, only those whose correctly spelt twin is not set.
    """
    environ = os.environ if environ is None else environ
    source = DotEnvSettingsSource(
        ProcessSettings, env_file=env_file, env_file_encoding="utf-8", case_sensitive=True
    )
    in_file = [name for name in source.env_vars if name not in environ]
    all_names = {name for cls in (ApiSettings, WorkerSettings) for name in names(cls).values()}
    is_set = {name.upper() for name in (*environ, *in_file)}
    found = []
    for name in [*in_file, *environ]:
        alike = _nearest(name, all_names)
        if alike is None or (name in environ and alike in is_set):
            continue
        where = str(env_file) if name in in_file else "the environment"
        found.append(f"{name} in {where} has no effect: is {alike} meant?")
    return found


def _nearest(name: str, names: set[str]) -> str | None:
    if name.upper() in names or len(name) < NEAR_MISS_LENGTH:
        return None
    alike = difflib.get_close_matches(name.upper(), names, n=1, cutoff=NEAR_MISS_RATIO)
    return alike[0] if alike else None


PROBLEMS: dict[str, Callable[[dict[str, Any]], str]] = {
    "int_parsing": lambda _: "it must be a whole number",
    "float_parsing": lambda _: "it must be a number",
    "bool_parsing": lambda _: "it must be true or false",
    "greater_than": lambda ctx: f"it must be greater than {ctx['gt']:g}",
    "greater_than_equal": lambda ctx: f"it must be at least {ctx['ge']:g}",
    "less_than_equal": lambda ctx: f"it must be at most {ctx['le']:g}",
    "datetime_from_date_parsing": lambda _: "it must be a time, as in 2026-01-01T10:00:00Z",
    "enum": lambda ctx: f"it must be one of {ctx['expected']}",
    "literal_error": lambda ctx: f"it must be one of {ctx['expected']}",
    "string_too_short": lambda ctx: f"its length must be at least {ctx['min_length']}",
    "path_not_file": lambda _: "there is no such file",
}
"""What to say for pydantic's kinds of error, by their names."""


def in_words(error: ErrorDetails) -> str | None:
    """What a value must be, for one of pydantic's errors; None: there are no words of ours."""
    explain = PROBLEMS.get(error["type"])
    return None if explain is None else explain(error.get("ctx", {}))


def _problem(error: ErrorDetails, setting: FieldInfo) -> str:
    found = in_words(error)
    if found is None and setting.examples:
        return f"it must look like {setting.examples[0]}"
    return found or error["msg"].removeprefix("Value error, ")


def exit_with(lines: list[str]) -> NoReturn:
    """End the process with status 2, as for a wrong command line."""
    for line in lines:
        sys.stderr.write(f"settings: {line}\n")
    sys.exit(2)
