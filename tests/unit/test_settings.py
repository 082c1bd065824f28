"""Settings: where they come from, what is refused, and that each mistake gets a clear sentence."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

import pytest

from headrace.settings import (
    ApiKey,
    ApiSettings,
    Role,
    WorkerSettings,
    load,
    names,
    warn_near_misses,
)
from headrace.settings.fields import field

DIGEST = hashlib.sha256(b"a key").hexdigest()
OTHER_DIGEST = hashlib.sha256(b"another key").hexdigest()


@pytest.fixture(autouse=True)
def _empty_surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No setting in the environment, no `.env` in the current folder."""
    variables = {name for cls in (ApiSettings, WorkerSettings) for name in names(cls).values()}
    for name in variables & set(os.environ):
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def refusal(cls: type[ApiSettings | WorkerSettings], capsys: pytest.CaptureFixture[str]) -> str:
    """What `load` prints when it exits."""
    with pytest.raises(SystemExit) as stop:
        load(cls)
    assert stop.value.code == 2
    return capsys.readouterr().err


def test_the_guides_names_and_defaults() -> None:
    settings = load(WorkerSettings)
    assert settings.queue.redis_url == "redis://localhost:6379/0"
    assert settings.queue.enabled is True
    assert settings.max_workers == 5


def test_the_api_listens_on_this_machine_only_by_default() -> None:
    settings = load(ApiSettings)
    assert (settings.host, settings.port) == ("127.0.0.1", 8000)
    assert (settings.metrics_host, settings.metrics_port) == ("127.0.0.1", 9090)


def test_both_processes_read_one_env_file_and_leave_the_others_keys_alone() -> None:
    Path(".env").write_text("REDIS_URL=redis://here:1/2\nMAX_WORKERS=7\nPORT=8001\nSHELL_X=1\n")
    worker, api = load(WorkerSettings), load(ApiSettings)
    assert worker.queue.redis_url == api.queue.redis_url == "redis://here:1/2"
    assert worker.max_workers == 7
    assert api.port == 8001
    assert warn_near_misses({}) == []


def test_the_environment_wins_over_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    Path(".env").write_text("MAX_WORKERS=7\nLEASE_SECONDS=9\n")
    monkeypatch.setenv("MAX_WORKERS", "8")
    settings = load(WorkerSettings)
    assert settings.max_workers == 8
    assert settings.queue.lease_seconds == 9.0


def test_arguments_win_over_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAX_WORKERS", "8")
    assert WorkerSettings(max_workers=2).max_workers == 2


def test_an_empty_variable_counts_as_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("REDIS_TLS_CA_FILE", "MAX_WORKERS", "PROBE_PORT"):
        monkeypatch.setenv(name, "")
    settings = load(WorkerSettings)
    assert settings.queue.redis_tls_ca_file is None
    assert settings.max_workers == 5
    assert settings.probe_port is None


def test_lists_are_separated_by_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUEUES", "workflow_execute, emails,")
    assert load(WorkerSettings).queues == ("workflow_execute", "emails")


def test_a_variable_called_like_a_group_is_someone_elses(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("QUEUE", "LOGS", "WORKFLOWS"):
        monkeypatch.setenv(name, "not json")
    assert load(WorkerSettings).queue.enabled is True


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("MAX_WORKERS", "many", "MAX_WORKERS=many: it must be a whole number"),
        ("MAX_WORKERS", "0", "MAX_WORKERS=0: it must be at least 1"),
        ("MAX_WORKERS", "1001", "MAX_WORKERS=1001: it must be at most 1000"),
        ("LEASE_SECONDS", "soon", "LEASE_SECONDS=soon: it must be a number"),
        ("REDIS_TIMEOUT_SECONDS", "0", "REDIS_TIMEOUT_SECONDS=0: it must be greater than 0"),
        ("QUEUE_ENABLED", "maybe", "QUEUE_ENABLED=maybe: it must be true or false"),
        ("LOG_LEVEL", "loud", "it must be one of 'debug', 'info', 'warning' or 'error'"),
        ("REDIS_TLS_CA_FILE", "none.pem", "REDIS_TLS_CA_FILE=none.pem: there is no such file"),
        ("QUEUE_NAMESPACE", "{a}", "QUEUE_NAMESPACE={a}: it must look like my-namespace"),
    ],
)
def test_a_wrong_value_is_answered_by_one_sentence(
    name: str,
    value: str,
    sentence: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv(name, value)
    printed = refusal(WorkerSettings, capsys)
    assert printed.count("\n") == 1
    assert sentence in printed


def test_all_mistakes_are_told_at_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MAX_WORKERS", "0")
    monkeypatch.setenv("LEASE_SECONDS", "0")
    assert refusal(WorkerSettings, capsys).count("\n") == 2


def test_a_password_is_neither_shown_nor_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("REDIS_URL", "http://:hunter2@redis")
    printed = refusal(WorkerSettings, capsys)
    assert "REDIS_URL: it must look like redis://localhost:6379/0" in printed
    assert "hunter2" not in printed
    monkeypatch.setenv("REDIS_URL", "redis://:hunter2@redis")
    assert "hunter2" not in repr(load(WorkerSettings))


def test_a_file_that_is_not_text_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    Path(".env").write_bytes(b"REDIS_URL=\xff\xfe\n")
    assert "is not UTF-8 text" in refusal(WorkerSettings, capsys)


class TestApiKeys:
    """API_KEYS, API_KEYS_FILE, and what their absence means."""

    def test_from_the_setting(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("API_KEYS", f"read:{DIGEST}, admin:{OTHER_DIGEST}:Ann's laptop")
        assert load(ApiSettings).keys == (
            ApiKey(Role.READ, bytes.fromhex(DIGEST), ""),
            ApiKey(Role.ADMIN, bytes.fromhex(OTHER_DIGEST), "Ann's laptop"),
        )

    def test_from_a_file_besides(self, monkeypatch: pytest.MonkeyPatch) -> None:
        Path("keys").write_text(f"# who may do what\n\nsubmit:{OTHER_DIGEST}:ci  # the robot\n")
        monkeypatch.setenv("API_KEYS", f"read:{DIGEST}")
        monkeypatch.setenv("API_KEYS_FILE", "keys")
        assert [(key.role, key.name) for key in load(ApiSettings).keys] == [
            (Role.READ, ""),
            (Role.SUBMIT, "ci"),
        ]

    @pytest.mark.parametrize(
        ("entry", "sentence"),
        [
            (
                "owner:" + DIGEST,
                "entry 1 must begin with a role: read, submit, manager, events, operator, admin",
            ),
            ("read:sesame", "entry 1 must have the key's SHA-256 after the role"),
            (f"read:{DIGEST},admin:{DIGEST}", "entry 2 has the same hash as an entry before it"),
        ],
    )
    def test_a_wrong_entry_is_named_by_its_place_and_never_shown(
        self,
        entry: str,
        sentence: str,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        monkeypatch.setenv("API_KEYS", entry)
        printed = refusal(ApiSettings, capsys)
        assert sentence in printed
        assert "sesame" not in printed
        assert DIGEST not in printed

    def test_a_wrong_line_of_the_file_is_named(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        Path("keys").write_text("# keys\nread:sesame\n")
        monkeypatch.setenv("API_KEYS_FILE", "keys")
        printed = refusal(ApiSettings, capsys)
        assert "line 2 of keys must have the key's SHA-256" in printed
        assert "sesame" not in printed

    @pytest.mark.parametrize("host", ["http://api.lan", "api.lan:8000", "api.lan/", "a*.lan", "*."])
    def test_what_is_no_host_name_is_never_answered_to_and_so_refused(
        self, host: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setenv("ALLOWED_HOSTS", "api.lan, *.example.com, *, fd00::1")
        assert len(load(ApiSettings).allowed_hosts) == 4
        monkeypatch.setenv("ALLOWED_HOSTS", f"api.lan,{host}")
        assert f"{host} is not a host name" in refusal(ApiSettings, capsys)

    @pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.7", "api.example.org"])
    def test_without_keys_no_other_machine_is_let_in(
        self, host: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setenv("HOST", host)
        printed = refusal(ApiSettings, capsys)
        assert printed.startswith(f"settings: HOST={host} lets other machines in")
        assert "ALLOW_ANONYMOUS=true" in printed

    @pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "::1", "localhost"])
    def test_without_keys_this_machine_is_let_in(
        self, host: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("HOST", host)
        assert load(ApiSettings).keys == ()

    @pytest.mark.parametrize(
        ("name", "value"), [("ALLOW_ANONYMOUS", "true"), ("API_KEYS", f"read:{DIGEST}")]
    )
    def test_a_key_or_the_express_wish_opens_the_door(
        self, name: str, value: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("HOST", "0.0.0.0")
        monkeypatch.setenv(name, value)
        assert load(ApiSettings).host == "0.0.0.0"


class TestNearMisses:
    """A misspelt name has no effect, so it is warned of; other programs' names are not."""

    @pytest.mark.parametrize(
        ("written", "meant"),
        [
            ("REDIS_ULR", "REDIS_URL"),
            ("REDISURL", "REDIS_URL"),
            ("REDIS_URI", "REDIS_URL"),
            ("MAX_WORKER", "MAX_WORKERS"),
            ("MAXWORKERS", "MAX_WORKERS"),
            ("QUEUE_ENABLE", "QUEUE_ENABLED"),
            ("WORKFLOW_DIR", "WORKFLOWS_DIR"),
            ("LEASE_SECOND", "LEASE_SECONDS"),
        ],
    )
    def test_are_warned_of(self, written: str, meant: str) -> None:
        assert warn_near_misses({written: "1"}) == [
            f"{written} in the environment has no effect: is {meant} meant?"
        ]
        Path(".env").write_text(f"{written}=1\n")
        assert warn_near_misses({}) == [f"{written} in .env has no effect: is {meant} meant?"]

    @pytest.mark.parametrize(
        "name",
        [
            *("PORTS", "HOSTS", "HOSTNAME", "REDIS_PORT", "REDIS_HOST", "REDIS_PASSWORD"),
            *("HTTP_PROXY", "LOG_FILE", "LOGNAME", "QUEUE_URL", "POD_NAMESPACE", "POD_IP"),
            *("OPENAI_API_KEY", "KNOWLEDGE_DIR", "WORKERS", "MAX_REQUESTS", "NO_COLOR"),
            *("HEADRACE_API_PORT", "HEADRACE_API_SERVICE_HOST", "KUBERNETES_PORT", "PYTHONPATH"),
        ],
    )
    def test_are_not_seen_where_there_are_none(self, name: str) -> None:
        assert warn_near_misses({name: "1"}) == []

    def test_a_name_beside_its_correctly_spelt_twin_is_someone_elses(self) -> None:
        assert warn_near_misses({"REDIS_URI": "1", "REDIS_URL": "1"}) == []

    def test_case_does_not_matter(self) -> None:
        assert warn_near_misses({"redis_url": "1", "Max_Workers": "3"}) == []


class TestExampleFile:
    """`.env.example` names every setting once, with its default."""

    TEXT = (Path(__file__).parents[2] / ".env.example").read_text(encoding="utf-8")

    def test_begins_with_the_guides_three_names(self) -> None:
        lines = [line for line in self.TEXT.splitlines() if line and not line.startswith("#")]
        assert lines == [
            "REDIS_URL=redis://localhost:6379/0",
            "QUEUE_ENABLED=true",
            "MAX_WORKERS=5",
        ]
        assert self.TEXT.index("MAX_WORKERS=") < self.TEXT.index("\n#QUEUE_NAMESPACE=")

    def test_has_every_setting_once(self) -> None:
        written = re.findall(r"^#?([A-Z][A-Z_]+)=", self.TEXT, re.MULTILINE)
        variables = {name for cls in (ApiSettings, WorkerSettings) for name in names(cls).values()}
        assert sorted(written) == sorted(variables)

    @pytest.mark.parametrize("cls", [ApiSettings, WorkerSettings])
    def test_shows_the_defaults(self, cls: type[ApiSettings | WorkerSettings]) -> None:
        as_default = load(cls)
        Path(".env").write_text(re.sub(r"^#(?=[A-Z_]+=)", "", self.TEXT, flags=re.MULTILINE))
        assert "\nLEASE_SECONDS=15\n" in Path(".env").read_text()
        assert load(cls) == as_default

    def test_tells_of_each_setting_what_its_docstring_tells(self) -> None:
        text = " ".join(self.TEXT.replace("\n# ", " ").split())
        for cls in (ApiSettings, WorkerSettings):
            for path in names(cls):
                sentence = " ".join((field(cls, path).description or "").split()).split(": ")[0]
                assert sentence.split(". ")[0].rstrip(".") in text, path


def test_each_line_of_the_env_file_that_sets_nothing_is_named(
    capsys: pytest.CaptureFixture[str],
) -> None:
    Path(".env").write_text("# fine\nREDIS_URL redis://h:1\nPORT\nexport HOST=::1\nOTHER\n= 5\n")
    assert refusal(ApiSettings, capsys).splitlines() == [
        "settings: .env, line 2: this is neither NAME=value nor a comment that begins with #",
        "settings: .env, line 3: PORT has no value: write PORT=value",
        "settings: .env, line 6: this is neither NAME=value nor a comment that begins with #",
    ]
