"""Accept-Language: Chinese unless English is preferred."""

from __future__ import annotations

import pytest

from headrace_api.http.language import Language, preferred


@pytest.mark.parametrize(
    "header",
    [
        "",
        "zh-CN,zh;q=0.9,en;q=0.8",
        "en;q=0.5,zh;q=0.5",
        "en;q=0",
        "*",
        "fr",
        "en;q=0.4,*;q=0.5",
        "en;q=abc",
        "en;q=1.5",
        ";;;,,=",
    ],
)
def test_chinese_unless_english_has_the_higher_quality(header: str) -> None:
    assert preferred(header) is Language.CHINESE


@pytest.mark.parametrize(
    "header",
    [
        "en",
        "en-US,en;q=0.9",
        "EN-gb;Q=0.2",
        "zh;q=0.3, en;q=0.31",
        "fr, en;q=0.5, *;q=0.1",
        "zh;q=0, *;q=0.5",
        "zh;q=bad, en;q=0.1",
    ],
)
def test_english_when_it_is_preferred(header: str) -> None:
    assert preferred(header) is Language.ENGLISH
