"""The commands that the queue's users need are read from the scripts."""

from __future__ import annotations

import re
from importlib.resources import files

from headrace.taskqueue.acl import acl_rules, script_commands

FOLDER = files("headrace.taskqueue") / "scripts"


def test_every_command_of_every_script_is_allowed() -> None:
    texts = [
        file.read_text("utf-8")
        for folder in (FOLDER, FOLDER / "lib")
        for file in folder.iterdir()
        if file.name.endswith(".lua")
    ]
    named = {name.lower() for text in texts for name in re.findall(r"call\('([A-Z]+)'", text)}
    assert len(named) > 20
    assert named <= script_commands()


def test_a_command_that_is_chosen_by_a_condition_is_found() -> None:
    assert {"lpush", "rpush"} <= script_commands()


def test_waitaof_is_allowed_only_where_it_is_asked_for() -> None:
    assert "+waitaof" in acl_rules("api", wait_fsync=True)
    assert "+waitaof" not in acl_rules("api")
