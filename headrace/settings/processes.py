"""Every setting: the groups, and one class for each process."""

from __future__ import annotations

import re
from functools import cached_property
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, FilePath, model_validator

from headrace.limits import (
    DEFAULT_MAX_DEPTH,
    DEFAULT_MAX_PAYLOAD_BYTES,
    MAX_JOURNAL_BYTES,
    NAMESPACE,
)
from headrace.settings.fields import CommaList, Env, Group, Lower, Port, ProcessSettings
from headrace.settings.keys import ApiKey, keys_in_file, keys_in_setting


def _origins(values: tuple[str, ...]) -> tuple[str, ...]:
    """Check what CORS_ORIGINS holds. A browser compares it letter by letter with the page's own."""
    for value in values:
        if value != "*" and not re.fullmatch(r"https?://[^\s/@?#A-Z]+", value):
            raise ValueError(
                f"{value} is not an origin: write scheme, host and port in small letters, and "
                "nothing after them, as in https://app.example.com"
            )
    return values


def _host_names(values: tuple[str, ...]) -> tuple[str, ...]:
    """Check what ALLOWED_HOSTS holds: a name with a scheme or a port would never be answered to."""
    for value in values:
        if not re.fullmatch(r"\*|(\*\.)?[^\s/:@?#*]+", value) and not is_address(value):
            raise ValueError(
                f"{value} is not a host name: write the name alone, without scheme and port, as in "
                "api.example.com or *.example.com"
            )
    return values


class QueueSettings(Group):
    """The queue, and the Redis that it lives in."""

    redis_url: str = Field(
        default="redis://localhost:6379/0",
        repr=False,  # it may hold a password
        pattern=r"^(redis|rediss|unix)(\+[a-z]+)?://",
        examples=["redis://localhost:6379/0"],
    )
    """Where Redis is: `redis://` or, with TLS, `rediss://`."""

    enabled: Annotated[bool, Env("QUEUE_ENABLED")] = True
    """`false`: every workflow runs inside the request that asks for it."""

    namespace: Annotated[str, Env("QUEUE_NAMESPACE")] = Field(
        default="headrace", pattern=rf"^{NAMESPACE}$", examples=["my-namespace"]
    )
    """Installations that share a Redis need a namespace each: every key begins with it."""

    lease_seconds: float = Field(default=15.0, ge=1, le=3600)
    """How long a silent worker keeps its tasks before another worker may take them over."""

    result_retention_seconds: int = Field(default=7 * 24 * 3600, ge=1)
    """How long a finished task and its result are kept: 7 days."""

    max_length: Annotated[int, Env("QUEUE_MAX_LENGTH")] = Field(default=1_000_000, ge=1)
    """How many tasks may wait in one queue. Further submits are refused."""

    max_payload_bytes: int = Field(default=DEFAULT_MAX_PAYLOAD_BYTES, ge=1)
    """The largest payload that a task may have, as JSON."""

    max_depth: Annotated[int, Env("QUEUE_MAX_DEPTH")] = Field(default=DEFAULT_MAX_DEPTH, ge=1)
    """How deep tasks may have children, such as workflows that run workflows."""

    redis_tls_ca_file: FilePath | None = None
    """Certificates (PEM) to trust with `rediss://`; none: the system's certificates."""

    redis_wait_replicas: int = Field(default=0, ge=0)
    """How many replicas must have a submitted task before it is acknowledged."""

    redis_wait_fsync: bool = False
    """Whether a task is acknowledged only once it is in Redis's append-only file (Redis 7.2)."""

    redis_timeout_seconds: float = Field(default=1.0, gt=0, le=30)
    """How long a call to Redis may take before Redis counts as away."""


class LogSettings(Group):
    """What is logged, and how."""

    level: Annotated[Literal["debug", "info", "warning", "error"], Lower, Env("LOG_LEVEL")] = "info"
    """The least severe level that is logged."""

    format: Annotated[Literal["auto", "console", "json"], Lower, Env("LOG_FORMAT")] = "auto"
    """`console` for people, `json` for machines; `auto`: console when a terminal is attached."""

    payloads: Annotated[bool, Env("LOG_PAYLOADS")] = False
    """Whether payloads and results are logged. They may hold secrets."""


class WorkflowSettings(Group):
    """The workflow definitions, and what they may reach."""

    dir: Annotated[Path, Env("WORKFLOWS_DIR")] = Path("examples/workflows")
    """The folder of definitions, one YAML or JSON file each."""

    http_allow: CommaList = ()
    """Hosts, addresses and networks that `call: http` may reach, separated by commas. `*`, or
    nothing: every public host. List what is in a private network or a cluster."""

    secrets_dir: Annotated[Path | None, Env("WORKFLOW_SECRETS_DIR")] = None
    """A folder with a file for each secret that definitions declare in `use.secrets`; none: they
    come from environment variables alone."""

    secrets_prefix: Annotated[str, Env("WORKFLOW_SECRETS_PREFIX")] = Field(
        default="WORKFLOW_SECRET_", pattern=r"^[A-Za-z_][A-Za-z0-9_]*$"
    )
    """What the environment variables of such secrets begin with: the secret `apiKey` is in
    `WORKFLOW_SECRET_APIKEY`."""


class WorkflowLimits(Group):
    """What one run of a workflow may use at most. An error at a limit names its setting."""

    max_steps: Annotated[int, Env("WORKFLOW_MAX_STEPS")] = Field(default=10_000, ge=1)
    """How many steps a run may take between two calls, waits or other effects."""

    max_run_steps: Annotated[int, Env("WORKFLOW_MAX_RUN_STEPS")] = Field(default=10_000_000, ge=1)
    """How many steps a run may take in all."""

    max_items: Annotated[int, Env("WORKFLOW_MAX_ITEMS")] = Field(default=100_000, ge=1)
    """How many items one `for` may have."""

    max_branches: Annotated[int, Env("WORKFLOW_MAX_BRANCHES")] = Field(default=1_000, ge=1)
    """How many branches one `fork` may have, or rounds at once one `for`."""

    max_data_bytes: Annotated[int, Env("WORKFLOW_MAX_DATA_BYTES")] = Field(
        default=10_485_760, ge=1024
    )
    """The largest input, output or context of a step, as JSON: 10 MiB."""

    max_journal_bytes: Annotated[int, Env("WORKFLOW_MAX_JOURNAL_BYTES")] = Field(
        default=MAX_JOURNAL_BYTES, ge=1024, le=MAX_JOURNAL_BYTES
    )
    """How much a run may keep of what it has done since its last snapshot."""


class EvaluationSettings(Group):
    """What one evaluation of an expression may use, and how many there are at once."""

    seconds: Annotated[float, Env("WORKFLOW_EVALUATION_SECONDS")] = Field(
        default=1.0, ge=0.01, le=60
    )
    """How much CPU time one evaluation of an expression may take."""

    memory_bytes: Annotated[int, Env("WORKFLOW_EVALUATION_MEMORY_BYTES")] = Field(
        default=536_870_912, ge=67_108_864
    )
    """How much memory a process may have that evaluates: 512 MiB."""

    processes: Annotated[int, Env("WORKFLOW_EVALUATION_PROCESSES")] = Field(default=8, ge=1, le=256)
    """How many processes may evaluate at once. More than one are started only while expressions
    compute for long. With fewer than MAX_WORKERS, expressions that never end can hold up others."""


class _BothSettings(ProcessSettings):
    """What API and worker share."""

    queue: QueueSettings = QueueSettings()
    """The queue, and the Redis that it lives in."""
    logs: LogSettings = LogSettings()
    """What is logged, and how."""
    workflows: WorkflowSettings = WorkflowSettings()
    """The workflow definitions, and what they may reach."""
    workflow_limits: WorkflowLimits = WorkflowLimits()
    """What one run of a workflow may use at most."""
    evaluation: EvaluationSettings = EvaluationSettings()
    """What one evaluation of an expression may use."""


class WorkerSettings(_BothSettings):
    """Everything that can be set for `run_worker.py`."""

    max_workers: int = Field(default=5, ge=1, le=1000)
    """How many tasks one worker process runs at once."""

    queues: CommaList = ()
    """The task types to run, separated by commas; none: all whose handlers are installed."""

    grace_seconds: float = Field(default=3600.0, ge=0)
    """How long running tasks may take to end after SIGTERM; then they are handed back."""

    probe_port: Port | None = None
    """The port of the liveness and readiness probes; none: no probes are served."""

    probe_host: str = "0.0.0.0"
    """The address that the probes are served on: Kubernetes asks from outside the pod."""

    pod_name: str | None = None
    """The name of this process's pod; the operator reads it."""


class ApiSettings(_BothSettings):
    """Everything that can be set for `run.py`."""

    host: str = "127.0.0.1"
    """The address to listen on. If other machines can reach it, set API_KEYS."""

    port: Port = 8000
    """The port to listen on; 0: any free one."""

    root_path: str = Field(default="", pattern=r"^(/.*[^/])?$", examples=["/headrace"])
    """The path under which a proxy publishes the API, such as `/headrace`."""

    api_keys: Annotated[tuple[ApiKey, ...], BeforeValidator(keys_in_setting)] = Field(
        default=(), repr=False
    )
    """Who may use the API: `role:sha256[:name]`, separated by commas. Roles: read, submit,
    manager, events, operator, admin."""

    api_keys_file: FilePath | None = None
    """A file with more entries for API_KEYS, one a line; `#` begins a comment."""

    allow_anonymous: bool = False
    """Without any key: whether the API may listen where other machines can reach it."""

    allowed_hosts: Annotated[CommaList, AfterValidator(_host_names)] = ()
    """Without any key: more names that the API answers to (the header `Host`), separated by commas.
    `*.example.com` stands for all names below it. `localhost` always works, and so do IP addresses
    if other machines can reach HOST."""

    cors_origins: Annotated[CommaList, AfterValidator(_origins)] = ()
    """Origins whose pages may use the API in a browser (CORS), separated by commas, such as
    `https://app.example.com`. `*`: all origins, if there are API keys. None: only its own."""

    metrics_host: str = "127.0.0.1"
    """The address that `/metrics` is served on."""

    metrics_port: Port = 9090
    """The port of `/metrics`; 0: no metrics."""

    shutdown_delay_seconds: float = Field(default=0.0, ge=0)
    """How long requests are still accepted after SIGTERM, while `/readyz` says 503."""

    max_body_bytes: int = Field(default=2_097_152, ge=1024)
    """The largest body that a request may have."""

    max_connections: int = Field(default=2048, ge=1, le=100_000)
    """How many connections may be open. Above that, idle ones are closed and only probes served."""

    max_waits: int = Field(default=1000, ge=1)
    """How many requests may wait for tasks to end. Each takes one of MAX_CONNECTIONS."""

    max_waited_tasks: int = Field(default=20_000, ge=1000)
    """How many tasks all requests together may wait for."""

    max_streams: int = Field(default=200, ge=1)
    """How many live streams may be open. Each takes one of MAX_CONNECTIONS."""

    ended_index_max: int = Field(default=100_000, ge=0)
    """How many ended tasks of one type can be listed, completed and cancelled ones each."""

    ended_index_max_total: int = Field(default=1_000_000, ge=0)
    """How many completed and cancelled tasks of all types together can be listed."""

    hide_payloads: bool = False
    """Whether payloads, results, states and variables are for the roles manager and admin alone.
    The API key that submitted a task sees its result all the same."""

    inline_timeout_seconds: float = Field(default=60.0, gt=0)
    """How long a workflow may run inside a request."""

    inline_max: int = Field(default=8, ge=1)
    """How many workflows may run inside requests at the same time."""

    @cached_property
    def keys(self) -> tuple[ApiKey, ...]:
        """All API keys: from the setting and from the file, which is read once."""
        if self.api_keys_file is None:
            return self.api_keys
        in_file = keys_in_file(self.api_keys_file)
        digests = {key.digest for key in self.api_keys}
        return self.api_keys + tuple(key for key in in_file if key.digest not in digests)

    @model_validator(mode="after")
    def _no_open_door(self) -> Self:
        if not self.keys and not self.allow_anonymous and not is_loopback(self.host):
            raise ValueError(
                f"HOST={self.host} lets other machines in, but no API key is set: set API_KEYS or "
                "API_KEYS_FILE, or ALLOW_ANONYMOUS=true if everyone who reaches it may use it"
            )
        return self

    @model_validator(mode="after")
    def _no_page_of_everybody(self) -> Self:
        if "*" in self.cors_origins and not self.keys and self.api_keys_file is None:
            raise ValueError(
                "CORS_ORIGINS=* lets the pages of every site use an API without keys: name the "
                "origins, or set API_KEYS"
            )
        return self


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a listener on `host`."""
    return host == "localhost" or (is_address(host) and ip_address(host).is_loopback)


def is_address(host: str) -> bool:
    """Whether this is an IP address, and no name."""
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
