"""Reads the operator's settings from the environment, and says in sentences what is wrong."""

from __future__ import annotations

import os
import secrets
import socket
import sys
from typing import Annotated, Any, Literal, NoReturn, Self

from pydantic import BeforeValidator, Field, ValidationError, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

EXIT_UNUSABLE = 2
"""The status of a process whose settings must be corrected."""


def _split(value: object) -> object:
    """A comma-separated list, as one writes it in the environment."""
    if not isinstance(value, str):
        return value
    return tuple(part.strip() for part in value.split(",") if part.strip())


def _lower(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


def _own_name() -> str:
    return f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"


Port = Annotated[int, Field(ge=0, le=65535)]


class Settings(BaseSettings):
    """All settings. Each is a variable of the same name in capitals; an empty one is not set."""

    model_config = SettingsConfigDict(
        env_ignore_empty=True, frozen=True, use_attribute_docstrings=True
    )

    namespaces: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)] = ()
    """The namespaces that are served, separated by commas; none: the operator's own."""

    cluster_wide: bool = False
    """Whether all namespaces are served."""

    pod_name: str = Field(default_factory=_own_name)
    """By what name this process holds the Lease. A pod that is started again under its name goes
    on at once, without waiting for the Lease to end."""

    pod_namespace: str = "default"
    """The operator's own namespace."""

    lease_namespace: str = ""
    """Where the Lease is; the operator's own namespace unless set."""

    lease_name: str = "headrace-operator"
    """The Lease that operators of the same namespaces share: the one that holds it acts."""

    api_url: str = ""
    """The base URL of the release's own API: keys may be sent to it, whatever their Secrets say."""

    probe_host: str = "0.0.0.0"
    """On which address `/healthz` and `/readyz` are served."""

    probe_port: Port = 8080
    """On which port; 0: not at all."""

    metrics_host: str = "0.0.0.0"
    """On which address `/metrics` is served."""

    metrics_port: Port = 9090
    """On which port; 0: not at all."""

    log_level: Annotated[Literal["debug", "info", "warning", "error"], BeforeValidator(_lower)] = (
        "info"
    )
    """The least severe level that is logged."""

    log_format: Annotated[Literal["auto", "console", "json"], BeforeValidator(_lower)] = "auto"
    """`console` for people, `json` for machines; `auto`: console when a terminal is attached."""

    @model_validator(mode="after")
    def _one_scope(self) -> Self:
        if self.cluster_wide and self.namespaces:
            raise ValueError("NAMESPACES and CLUSTER_WIDE=true contradict each other: set one")
        return self

    @property
    def served(self) -> tuple[str, ...] | None:
        """The namespaces that are served; None: all."""
        return None if self.cluster_wide else self.namespaces or (self.pod_namespace,)

    @property
    def lease(self) -> tuple[str, str]:
        """The Lease's namespace and name."""
        return self.lease_namespace or self.pod_namespace, self.lease_name


def load() -> Settings:
    """Read the settings; on a mistake print a sentence for each and exit with status 2."""
    try:
        return Settings()
    except ValidationError as error:
        _exit_with(sentences(error))


def sentences(error: ValidationError) -> list[str]:
    """One sentence for each thing that is wrong: the setting, its value, what it must be."""
    found = []
    for mistake in error.errors():
        message = mistake["msg"].removeprefix("Value error, ")
        if mistake["loc"]:
            name, value = str(mistake["loc"][0]).upper(), mistake["input"]
            message = (
                f"{name}={value}: {_problem(mistake['type'], mistake.get('ctx', {}), message)}"
            )
        found.append(message)
    return found


def _problem(kind: str, context: dict[str, Any], message: str) -> str:
    match kind:
        case "int_parsing":
            return "it must be a whole number"
        case "bool_parsing":
            return "it must be true or false"
        case "greater_than_equal":
            return f"it must be at least {context['ge']}"
        case "less_than_equal":
            return f"it must be at most {context['le']}"
        case "literal_error":
            return f"it must be one of {context['expected']}"
    return message


def _exit_with(lines: list[str]) -> NoReturn:
    for line in lines:
        sys.stderr.write(f"settings: {line}\n")
    sys.exit(EXIT_UNUSABLE)
