"""Plain English: some words are forbidden in texts, and some names in code."""

from __future__ import annotations

import re

import pytest

from tests.identifiers import ROOT, identifiers, tracked

WORDS = {
    "lest": "so that … not",
    "mend": "fix",
    "whom": "who, or another sentence",
    "for want of": "because there is no …",
    "bears": "has, or takes",
}
"""What an engineer whose second language is English may have to look up, and what to write."""
NAMES = {"one", "told", "known"}
"""They do not say what a variable holds."""
NOT_OURS = {"LICENSE", "NOTICE"}
_WORDS = re.compile(rf"\b({'|'.join(WORDS)})\b", re.IGNORECASE)
# In Markdown a word between backticks is spoken of, not used.
_SPOKEN_OF = re.compile(r"`[^`\n]*`")


def misused(text: str, *, markdown: bool) -> list[tuple[int, str]]:
    """The forbidden words in a text, each with its line."""
    return [
        (number, word.lower())
        for number, line in enumerate(text.splitlines(), 1)
        for word in _WORDS.findall(_SPOKEN_OF.sub("", line) if markdown else line)
    ]


def test_no_text_has_a_forbidden_word() -> None:
    found = []
    for path in sorted(set(tracked()) - NOT_OURS - {f"tests/unit/{__name__.split('.')[-1]}.py"}):
        try:
            text = (ROOT / path).read_text(encoding="utf-8")
        except UnicodeDecodeError:  # an image
            continue
        found += [
            f"{path}:{number}: {word!r}: write {WORDS[word]!r}"
            for number, word in misused(text, markdown=path.endswith(".md"))
        ]
    assert found == []


def test_every_name_says_what_it_holds() -> None:
    found = [
        f"{identifier.path}:{identifier.line}: {identifier.name!r}: name it for what it holds"
        for identifier in identifiers()
        if identifier.name.strip("_").lower() in NAMES
    ]
    assert found == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Lest we forget.\nFine.", [(1, "lest")]),
        ("Fine.\nIt fails for want of Redis.", [(2, "for want of")]),
        ("The latest blessing, amended.", []),
        ("Write no `whom`.", []),
    ],
)
def test_forbidden_words_are_found_as_whole_words(text: str, found: list[tuple[int, str]]) -> None:
    assert misused(text, markdown=True) == found
