"""The commands that start something: where something is missing, and how much they import."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("program", ["run.py", "run_worker.py"])
def test_without_the_requirements_it_says_how_to_install_them(program: str) -> None:
    # -S: without site-packages, as before the first `pip install`
    done = subprocess.run(
        [sys.executable, "-S", program], cwd=ROOT, capture_output=True, text=True, timeout=30
    )
    assert done.returncode == 1
    assert done.stderr.startswith(f"{program}: the package ")
    assert done.stderr.endswith(" is missing: pip install -r requirements.txt\n")


@pytest.mark.parametrize(
    ("command", "package"), [("api", "fastapi"), ("worker", "headrace_worker")]
)
def test_a_command_whose_extra_is_not_installed_says_how_to_install_it(
    command: str, package: str
) -> None:
    done = run_command(command, f"sys.modules[{package!r}] = None")
    assert done.returncode == 1
    assert done.stderr == (
        f'headrace {command}: the package {package} is missing: pip install "headrace[{command}]"\n'
    )


@pytest.mark.parametrize("command", ["api", "worker"])
def test_a_command_ends_with_the_status_of_its_process(command: str) -> None:
    done = run_command(command, "os.environ['LEASE_SECONDS'] = 'soon'")
    assert done.returncode == 2
    assert "LEASE_SECONDS" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("argument", ["--help", "--version"])
def test_the_help_and_the_version_import_nothing_slow(argument: str) -> None:
    """Each may take 150 ms: pydantic, redis, rich and our own packages would take longer."""
    done = run_command(argument, "atexit.register(lambda: print('loaded:', *sys.modules))")
    assert done.returncode == 0, done.stderr
    said, _, loaded = done.stdout.partition("loaded:")
    assert "headrace" in said
    ours = {name for name in loaded.split() if name.startswith("headrace")}
    assert {name for name in ours if not name.startswith("headrace.cli")} == {"headrace"}
    assert not {"asyncio", "pydantic", "redis", "rich"} & set(loaded.split())


def test_a_list_imports_no_handlers_and_nothing_that_speaks_to_redis() -> None:
    """`headrace ls` may take 350 ms on a local API."""
    before = (
        "os.environ['HEADRACE_URL'] = 'http://127.0.0.1:9'\n"
        "import headrace.cli.session\nheadrace.cli.session.RETRY_SECONDS = 0.0\n"
        "atexit.register(lambda: print('loaded:', *sys.modules))"
    )
    done = run_command("ls", before)
    assert done.returncode == 6, done.stderr
    slow = {"headrace.handlers", "headrace.taskqueue", "headrace.workflows", "redis", "structlog"}
    assert not slow & set(done.stdout.split())


def run_command(argument: str, before: str) -> subprocess.CompletedProcess[str]:
    """Run `headrace` with one argument, after a line of Python."""
    command = f"app([{argument!r}], prog_name='headrace')"
    code = f"import atexit, os, sys\n{before}\nfrom headrace.cli import app\n{command}"
    return subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=30
    )
