"""What a REDIS_URL means, and what is said about a wrong one."""

from __future__ import annotations

import pytest

from headrace.taskqueue.redis.url import parse_url


@pytest.mark.parametrize(
    ("url", "nodes", "db"),
    [
        ("redis://localhost:6379/0", (("localhost", 6379),), 0),
        ("redis://redis", (("redis", 6379),), 0),
        ("redis://redis/", (("redis", 6379),), 0),
        ("redis://10.0.0.1:7000/12", (("10.0.0.1", 7000),), 12),
        ("redis://[2001:db8::1]:7000/1", (("2001:db8::1", 7000),), 1),
        ("redis://redis?db=3", (("redis", 6379),), 3),
    ],
)
def test_one_server(url: str, nodes: tuple[tuple[str, int], ...], db: int) -> None:
    target = parse_url(url)

    assert (target.kind, target.nodes, target.db) == ("server", nodes, db)
    assert not target.tls
    assert target.username is None
    assert target.password is None


def test_user_and_password_are_percent_decoded() -> None:
    target = parse_url("redis://us%2Fer:p%40ss%3Aw%2Fo%3Frd@redis:1/2")

    assert (target.username, target.password) == ("us/er", "p@ss:w/o?rd")


def test_a_password_needs_no_user() -> None:
    target = parse_url("redis://:secret@redis")

    assert (target.username, target.password) == (None, "secret")


def test_an_at_sign_in_a_password_is_no_host() -> None:
    assert parse_url("redis://:a@b@redis").nodes == (("redis", 6379),)


def test_tls_with_its_files() -> None:
    target = parse_url(
        "rediss://redis:6380/0?tls_ca_file=/etc/ca.pem&tls_cert_file=/c.pem&tls_key_file=/k.pem"
        "&tls_check_hostname=false"
    )

    assert target.tls
    assert (target.tls_ca_file, target.tls_cert_file, target.tls_key_file) == (
        "/etc/ca.pem",
        "/c.pem",
        "/k.pem",
    )
    assert not target.tls_check_hostname


@pytest.mark.parametrize(
    ("url", "ca_file"),
    [("rediss://redis", "/setting.pem"), ("rediss://redis?tls_ca_file=/url.pem", "/url.pem")],
)
def test_the_ca_file_of_the_url_goes_before_the_setting(url: str, ca_file: str) -> None:
    assert parse_url(url, tls_ca_file="/setting.pem").tls_ca_file == ca_file


def test_an_empty_ca_file_setting_means_the_systems_authorities() -> None:
    assert parse_url("rediss://redis", tls_ca_file="").tls_ca_file is None


def test_a_unix_socket() -> None:
    target = parse_url("unix://user:secret@/run/redis/redis@1.sock?db=2")

    assert (target.kind, target.path, target.db) == ("unix", "/run/redis/redis@1.sock", 2)
    assert (target.username, target.password) == ("user", "secret")


def test_sentinels() -> None:
    target = parse_url(
        "redis+sentinel://user:secret@s1,s2:26380,[::1]/mymaster/4"
        "?sentinel_username=watcher&sentinel_password=w%26w"
    )

    assert target.kind == "sentinel"
    assert target.nodes == (("s1", 26379), ("s2", 26380), ("::1", 26379))
    assert (target.service, target.db) == ("mymaster", 4)
    assert (target.username, target.password) == ("user", "secret")
    assert (target.sentinel_username, target.sentinel_password) == ("watcher", "w&w")


def test_sentinels_over_tls() -> None:
    assert parse_url("rediss+sentinel://s1/mymaster").tls


def test_a_cluster() -> None:
    target = parse_url("redis+cluster://c1,c2:7001", namespace="headrace")

    assert (target.kind, target.nodes) == ("cluster", (("c1", 6379), ("c2", 7001)))
    # As `CLUSTER KEYSLOT "{headrace}:meta"` says.
    assert target.slot == 12929


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("localhost:6379", "must begin with one of redis://, rediss://"),
        ("http://localhost", "must begin with one of redis://, rediss://"),
        ("redis://", r"must have host\[:port\] after the ://"),
        ("redis://:6379/0", r"must have host\[:port\] after the ://"),
        ("redis://host:port/0", r"must have host\[:port\] after the ://"),
        ("redis://host:65536/0", "port from 1 to 65535"),
        ("redis://ho st/0", r"must have host\[:port\] after the ://"),
        ("redis://host/zero", "must end in the number of a database: redis://localhost:6379/0"),
        ("redis://host/-1", "must end in the number of a database"),
        ("redis://host?db=x", "must end in the number of a database"),
        ("redis://a,b", "names several hosts: write redis\\+sentinel:// or redis\\+cluster://"),
        ("redis://user@host", "a user without a password: write redis://:password@host"),
        ("redis://host?timeout=3", "has an unknown option after the \\?; known are db, sentinel"),
        ("redis://host?db", "must have options like"),
        ("rediss://host?tls_check_hostname=no", "tls_check_hostname=true or"),
        ("unix://run/redis.sock", "must give an absolute path: unix:///run/redis/redis.sock"),
        ("unix://", "must give an absolute path"),
        ("redis+sentinel://host:26379", "lacks the master's name"),
        ("redis+sentinel://host:26379//0", "lacks the master's name"),
        ("redis+cluster://host/1", "a Redis Cluster has only 0"),
    ],
)
def test_a_wrong_url_is_explained(url: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=rf"^REDIS_URL .*{sentence}"):
        parse_url(url)


@pytest.mark.parametrize(
    "url",
    [
        "redis://:hush/hush@host:6379/0",
        "redis://:hush?hush@host:6379/0",
        "redis://:hush?hush=hush@host:6379/0",
        "redis://user:hush@host:port/0",
        "redis://user:hush@ho st/0",
        "redis://hush@host/0",
        "redis://user:hush@host/hush",
        "hush://user:hush@host/0",
        "redis://user:hush@host/0?hush=hush",
    ],
)
def test_no_part_of_a_wrong_url_is_repeated(url: str) -> None:
    with pytest.raises(ValueError, match=r"^REDIS_URL") as caught:
        parse_url(url)

    assert "hush" not in str(caught.value)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_passwords_are_not_shown_with_the_target() -> None:
    target = parse_url("redis+sentinel://user:hush@s1/m?sentinel_password=hush2")

    assert "hush" not in repr(target)
