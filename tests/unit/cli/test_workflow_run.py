"""`headrace workflow run`: a definition runs here, each step is shown, and it ends cleanly."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner

from headrace.cli import app

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SECRET = "correct-horse-7"
HEAD = "document: {{dsl: '1.0.3', namespace: test, name: {name}, version: '1.0.0'}}\n"


def write(folder: Path, name: str, text: str) -> str:
    file = folder / f"{name}.yaml"
    file.write_text(HEAD.format(name=name) + text)
    return str(file)


def run(*arguments: str) -> Any:
    return CliRunner().invoke(app, ["workflow", "run", *arguments])


@pytest.fixture
def echo() -> Iterator[str]:
    """The address of a server that sends back what it is asked with."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps(dict(self.headers)).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    thread.join()
    server.server_close()


def test_each_step_is_shown_and_the_output_alone_goes_to_standard_output(tmp_path: Path) -> None:
    """Waits are skipped, other workflows of the folder and task types run in place."""
    write(tmp_path, "twice", 'do: [{double: {set: {doubled: "${ .y * 2 }"}}}]\n')
    file = write(
        tmp_path,
        "all",
        "do:\n"
        '  - first: { set: { n: "${ .n + 1 }" } }\n'
        "  - pause: { wait: { days: 3 } }\n"
        "  - skipped: { if: 'false', set: { n: 0 } }\n"
        "  - sub: { run: { workflow: { namespace: test, name: twice, version: '1.0.0', "
        "input: { y: 4 } } } }\n"
        "  - task: { call: workflow_execute, with: { workflow_id: twice, "
        'variables: { y: "${ .doubled }" } }, output: { as: .variables } }\n',
    )
    done = run(file, "--vars", '{"n": 1}', "--var", "name=Ada", "--skip-waits")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout) == {"doubled": 16}
    lines = [line.split("  ") for line in done.stderr.splitlines()]
    assert [line[-2:] for line in lines] == [
        ["/do/0/first", '{"n": 2}'],
        ["/do/1/pause", '{"n": 2}'],
        ["/do/3/sub", '{"doubled": 8}'],
        ["/do/4/task", '{"doubled": 16}'],
    ]
    assert "259200" in done.stderr.splitlines()[1]
    verbose = run(file, "--var", "n=1", "--skip-waits", "--verbose")
    assert 'input   {"n": 1}' in verbose.stderr


def test_a_run_that_fails_ends_with_status_7_and_the_languages_error(tmp_path: Path) -> None:
    raised = "{ type: https://a.example/errors/empty, status: 409, title: Empty }"
    file = write(tmp_path, "fails", f"do: [{{stop: {{raise: {{error: {raised}}}}}}}]\n")
    done = run(file)
    assert (done.exit_code, done.stdout) == (7, "")
    first, rest = done.stderr.split("\n", 1)
    assert first == "failed   Empty (409) at /do/0/stop"
    assert json.loads(rest) == {
        "type": "https://a.example/errors/empty",
        "status": 409,
        "title": "Empty",
        "instance": "/do/0/stop",
    }


def test_a_task_type_that_is_not_installed_is_named(tmp_path: Path) -> None:
    file = write(tmp_path, "calls", "do: [{a: {call: thumbnail_create, with: {}}}]\n")
    done = run(file)
    assert done.exit_code == 7
    assert "no installed package has a task type 'thumbnail_create'" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "status", "sentence"),
    [
        (["--var", "n"], 2, "--var n: write name=value"),
        (["--vars", "[1]"], 2, "--vars must be a JSON object"),
        (["--vars", "@nowhere.json"], 2, "--vars: nowhere.json cannot be read"),
        (["--vars", "{"], 2, "--vars is not JSON"),
    ],
)
def test_wrong_arguments_are_status_2(
    tmp_path: Path, arguments: list[str], status: int, sentence: str
) -> None:
    file = write(tmp_path, "good", "do: [{a: {set: {x: 1}}}]\n")
    done = run(file, *arguments)
    assert (done.exit_code, sentence in done.stderr) == (status, True)


def test_a_definition_that_is_refused_does_not_run(tmp_path: Path) -> None:
    done = run(write(tmp_path, "wrong", "do: [{a: {sett: {x: 1}}}]\n"))
    assert done.exit_code == 1
    assert "Did you mean 'set'?" in done.stderr


def test_variables_come_from_a_file_and_single_ones_win(tmp_path: Path) -> None:
    (tmp_path / "all.json").write_text('{"a": 1, "b": 2}')
    file = write(tmp_path, "echoes", 'do: [{a: {set: "${ . }"}}]\n')
    done = run(file, "--vars", f"@{tmp_path / 'all.json'}", "--var", "b=[3]", "--var", "c=x=y")
    assert json.loads(done.stdout) == {"a": 1, "b": [3], "c": "x=y"}


def test_no_secret_is_shown(tmp_path: Path, echo: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_ALLOW", "127.0.0.1")
    monkeypatch.setenv("WORKFLOW_SECRET_KEY", SECRET)
    file = write(
        tmp_path,
        "secret",
        "use: { secrets: [key] }\n"
        "do:\n"
        "  - call:\n"
        "      call: http\n"
        "      with:\n"
        "        method: get\n"
        f"        endpoint: {{ uri: '{echo}', authentication: {{ bearer: {{ use: key }} }} }}\n"
        '        headers: { X-Key: "${ $secrets.key }" }\n',
    )
    done = run(file, "--verbose")
    assert done.exit_code == 0, done.output
    output = json.loads(done.stdout)
    assert output["authorization"] == "Bearer [redacted]"
    assert output["x-key"] == "[redacted]"
    assert SECRET not in done.stdout + done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C is sent in another way there")
def test_ctrl_c_ends_it_without_a_traceback(tmp_path: Path) -> None:
    file = write(tmp_path, "long", "do: [{a: {set: {x: '${ 1 + 1 }'}}}, {b: {wait: {hours: 1}}}]\n")
    process = subprocess.Popen(
        [sys.executable, "-m", "headrace", "workflow", "run", file],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        # As on a terminal: what runs in the background of a shell is started without it.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert process.stderr is not None
    assert "/do/0/a" in process.stderr.readline()
    process.send_signal(signal.SIGINT)
    _, shown = process.communicate(timeout=30)
    assert (process.returncode, shown) == (130, "stopped\n")
