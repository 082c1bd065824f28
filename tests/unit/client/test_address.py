"""Where a client finds Headrace: arguments, the environment, the profile."""

from __future__ import annotations

from pathlib import Path

import pytest

from headrace.client.address import Address, find_address
from headrace.client.errors import ConfigInvalid

SECRET = "hr_secret"


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return {"XDG_CONFIG_HOME": str(tmp_path)}


def write(environ: dict[str, str], text: str, mode: int = 0o600) -> None:
    file = Path(environ["XDG_CONFIG_HOME"], "headrace", "config.toml")
    file.parent.mkdir()
    file.write_text(text)
    file.chmod(mode)


def test_without_anything_it_is_this_machine(environ: dict[str, str]) -> None:
    assert find_address(environ=environ) == Address("http://127.0.0.1:8000")


def test_arguments_come_before_the_environment_and_that_before_the_profile(
    environ: dict[str, str],
) -> None:
    write(environ, '[default]\nurl = "http://profile"\napi_key = "k3"\n')
    assert find_address(environ=environ) == Address("http://profile", "k3")
    environ |= {"HEADRACE_URL": "http://environment", "HEADRACE_API_KEY": "k2"}
    assert find_address(environ=environ) == Address("http://environment", "k2")
    assert find_address("http://argument/", "k1", environ=environ) == Address(
        "http://argument", "k1"
    )


def test_a_profiles_key_is_sent_to_its_own_url_only(environ: dict[str, str]) -> None:
    write(environ, f'[default]\nurl = "http://profile"\napi_key = "{SECRET}"\n')
    assert find_address("http://elsewhere", environ=environ).api_key is None


def test_a_profile_is_chosen_by_argument_or_environment(environ: dict[str, str]) -> None:
    write(
        environ, '[default]\nurl = "http://a"\n[prod]\nurl = "http://b"\n[test]\nurl = "http://c"'
    )
    environ["HEADRACE_PROFILE"] = "prod"
    assert find_address(environ=environ).url == "http://b"
    environ["HEADRACE_URL"] = "http://d"
    assert find_address(profile="test", environ=environ).url == "http://c"
    with pytest.raises(ConfigInvalid, match="there is no profile 'other'"):
        find_address(profile="other", environ=environ)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_file_that_others_can_read_is_refused(environ: dict[str, str], mode: int) -> None:
    write(environ, f'[default]\napi_key = "{SECRET}"\n', mode)
    with pytest.raises(ConfigInvalid, match="chmod 600") as raised:
        find_address(environ=environ)
    assert SECRET not in str(raised.value)


@pytest.mark.parametrize("text", ["[default", "[default]\nurl = 3\n", 'default = "http://a"\n'])
def test_a_file_that_makes_no_sense_is_named(environ: dict[str, str], text: str) -> None:
    write(environ, text)
    with pytest.raises(ConfigInvalid, match=r"config\.toml"):
        find_address(environ=environ)


@pytest.mark.parametrize(
    "url",
    [
        "localhost:8000",
        "ftp://example.com",
        "http://",
        "https://user:hr_secret@example.com",
        "http://example.com/?key=hr_secret",
        "http://[",
    ],
)
def test_an_address_that_cannot_be_used_is_refused(environ: dict[str, str], url: str) -> None:
    with pytest.raises(ConfigInvalid) as raised:
        find_address(url, environ=environ)
    assert SECRET not in str(raised.value)


@pytest.mark.parametrize("key", ["hr_secret\n", "hr secret", "hr_secretä"])
def test_a_key_that_no_header_can_hold_is_refused_and_not_shown(
    environ: dict[str, str], key: str
) -> None:
    with pytest.raises(ConfigInvalid) as raised:
        find_address(api_key=key, environ=environ)
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://user:hr_secret@host:1/2", "redis://host:1/2"),
        (
            "redis+sentinel://a:1,b:2/main?sentinel_password=hr_secret",
            "redis+sentinel://a:1,b:2/main",
        ),
        ("https://example.com/headrace", "https://example.com/headrace"),
    ],
)
def test_an_address_is_shown_without_what_is_secret(url: str, shown: str) -> None:
    address = find_address(url, SECRET, environ={})
    assert str(address) == shown
    assert SECRET not in repr(address)
