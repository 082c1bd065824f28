"""Maps a setting's place in its groups to its flat name in the environment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    DotEnvSettingsSource,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

ENV_FILE = Path(".env")

FieldPath = tuple[str, ...]
"""Where a field stands: the groups that lead to it, and its own name."""


@dataclass(frozen=True)
class Env:
    """Marks a field whose name in the environment is not its own in capitals."""

    name: str


def _split(value: object) -> object:
    """A comma-separated list, as one writes it in the environment."""
    if not isinstance(value, str):
        return value
    return tuple(part.strip() for part in value.split(",") if part.strip())


def _lower(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


CommaList = Annotated[tuple[str, ...], BeforeValidator(_split)]
Port = Annotated[int, Field(ge=0, le=65535)]
Lower = BeforeValidator(_lower)


class Group(BaseModel):
    """Settings that belong together."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class _FlatSource(PydanticBaseSettingsSource):
    """Sorts the flat names that pydantic-settings has read into the groups of the class."""

    def __init__(self, cls: type[BaseSettings], values: Mapping[str, str | None]) -> None:
        super().__init__(cls)
        self._values = values

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        return self._values.get(env_name(field_name, field).lower()), field_name, False

    def __call__(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for path, name in names(self.settings_cls).items():
            value = self._values.get(name.lower())
            if value is not None:
                *groups, field = path
                target = found
                for group in groups:
                    target = target.setdefault(group, {})
                target[field] = value
        return found


class ProcessSettings(BaseSettings):
    """All settings of one process: from arguments, then the environment, then `.env`."""

    model_config = SettingsConfigDict(
        env_file=ENV_FILE,
        env_file_encoding="utf-8",
        env_ignore_empty=True,
        extra="forbid",
        frozen=True,
        use_attribute_docstrings=True,
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """What pydantic-settings calls to learn where values come from, in order."""
        assert isinstance(dotenv_settings, DotEnvSettingsSource)
        assert isinstance(env_settings, EnvSettingsSource)
        values = {**dotenv_settings.env_vars, **env_settings.env_vars}
        return init_settings, _FlatSource(settings_cls, values)


def env_name(field_name: str, field: FieldInfo) -> str:
    """A field's name in the environment."""
    marks = [mark.name for mark in field.metadata if isinstance(mark, Env)]
    return marks[0] if marks else field_name.upper()


def names(cls: type[BaseModel]) -> dict[FieldPath, str]:
    """Every setting of a class: where it stands in the groups, and its name in the environment."""
    found: dict[FieldPath, str] = {}
    for field_name, field in cls.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, Group):
            found |= {(field_name, *path): name for path, name in names(kind).items()}
        else:
            found[field_name,] = env_name(field_name, field)
    return found


def field(cls: type[BaseModel], path: FieldPath) -> FieldInfo:
    """The field that stands at a place."""
    *groups, name = path
    for group in groups:
        kind = cls.model_fields[group].annotation
        assert isinstance(kind, type)
        assert issubclass(kind, BaseModel)
        cls = kind
    return cls.model_fields[name]
