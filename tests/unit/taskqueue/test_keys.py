"""Key names: one hash tag, one slot, documented in one place."""

from __future__ import annotations

import re

import pytest
from redis.crc import key_slot

from headrace.taskqueue import keys
from headrace.taskqueue.keys import Keys
from headrace.taskqueue.scripts import NAMES, script


def test_all_keys_of_an_installation_lie_in_one_slot() -> None:
    names = Keys("a.b-c_1")
    made = [names.meta, names.types, names.wake("t"), names.signal("w"), names.definition("0")]
    assert all(key.startswith("{a.b-c_1}:") for key in made)
    assert len({key_slot(key.encode()) for key in made}) == 1
    assert len(set(made)) == len(made)


@pytest.mark.parametrize("namespace", ["", "a b", "a{b", "a}b", "a:b", "水渠", "a" * 65, "a\n"])
def test_a_namespace_that_would_spoil_the_hash_tag_is_refused(namespace: str) -> None:
    with pytest.raises(ValueError, match="must be 1 to 64 letters"):
        Keys(namespace)


def tables() -> tuple[set[str], set[str]]:
    """The kinds of keys, and the fields of a record, that keys.py documents."""
    assert keys.__doc__ is not None
    layout, _, record = keys.__doc__.partition("A task's record")
    kinds = re.findall(
        r"^([a-z]+)(?::<\w+>)* +(?:hash|set|list|zset|string|stream|any|channel) ",
        layout,
        re.MULTILINE,
    )
    fields = re.findall(r"(?:^|  |, |\()([a-z]{1,2})(?=  |, |\))", record, re.MULTILINE)
    return set(kinds), set(fields)


def test_the_scripts_name_no_key_that_is_not_documented() -> None:
    documented, _ = tables()
    used = set()
    for name in NAMES:
        text = re.sub(r"--.*", "", script(name).text.decode())
        used |= set(re.findall(r"P \.\. '([a-z]+)", text))
        used |= set(re.findall(r"'(delayed|retries):'", text))
    assert used - {"never"} == documented - {"meta", "definition"}
    assert "never" in used


def test_the_scripts_use_no_field_of_a_record_that_is_not_documented() -> None:
    _, documented = tables()
    used = set()
    for name in NAMES:
        text = script(name).text.decode()
        for call in re.findall(
            r"'H(?:M?GET|SET|DEL)',\s*(?:key|task|P \.\. 'task:' \.\. id), ([^)]*)\)", text
        ):
            used |= set(re.findall(r"'([a-z]{1,2})'", call))
    assert used <= documented
    assert len(used) > 20


def test_one_function_makes_the_key_of_a_list_of_waiting_tasks() -> None:
    made = re.compile(r"'queue:'")
    texts = {name: re.sub(r"--.*", "", script(name).text.decode()) for name in NAMES}
    users = {name: len(made.findall(text)) for name, text in texts.items() if "queue:" in text}
    assert set(users.values()) == {1}
    assert users.keys() == {name for name, text in texts.items() if "function list_key(" in text}
