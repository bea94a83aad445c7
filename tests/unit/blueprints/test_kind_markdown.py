"""A kind of error as Markdown: what is not ours is code there, and nothing of it is markup, a name, a link or a secret."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prodfix.blueprints.diagnostics.markdown import block, kind_as_markdown, span
from prodfix.models import GroupSummary, SentCommand
from tests.support.kind_summaries import SEEN, kind_summary


def told(group: GroupSummary, **given: Any) -> str:
    known: dict[str, Any] = {
        "window": "24 hours",
        "address": "https://shop.test/page/groups/0123456789abcdef?timeRange=7d",
        "releases": ["3f2a9c1"],
        "stack": "builtins.KeyError\n  views.py:3 in show",
        "stack_at": ("3f2a9c1", SEEN),
        "commands": [SentCommand("find", "orders", 4.25), SentCommand("update", "orders", None, failed=True)],
        "category": "bug",
    }
    return kind_as_markdown(group, **{**known, **given})


def test_it_has_what_a_ticket_needs() -> None:
    assert (
        told(kind_summary())
        == """## `KeyError: 'price'`

- Place: `views.py:show`
- Code: `INTERNAL_ERROR`, category: `bug`, status: `open`
- Count: 7 within 24 hours, 3 users affected
- First seen: 2026-11-26T10:00:00.000Z, last seen: 2026-11-26T10:00:00.000Z
- Releases: `3f2a9c1`
- Fingerprint: `0123456789abcdef`
- Page: <https://shop.test/page/groups/0123456789abcdef?timeRange=7d>

### Stack of 2026-11-26T10:00:00.000Z of release `3f2a9c1`

```text
builtins.KeyError
  views.py:3 in show
```

### Commands of that request

- `find` on `orders`, 4.2 ms
- `update` on `orders`, failed
"""
    )


def test_what_is_not_known_is_left_out() -> None:
    text = told(kind_summary(users=None, place=""), stack="", stack_at=None, commands=[], releases=[])
    assert "users" not in text
    assert "Place" not in text
    assert "Releases: not known" in text
    assert "###" not in text
    assert "about 40 users" in told(kind_summary(users=40, users_exact=False))


@pytest.mark.parametrize(
    "words", ["# heading", "[a](javascript:x)", "@team", "<script>", "``` end", "a\n\n# b", "`", "``x`", "", "<!--"]
)
def test_words_of_others_stay_within_their_code(words: str) -> None:
    text = told(
        kind_summary(headline=words, place=words, code=words), releases=[words], stack=words, stack_at=(words, SEEN)
    )
    outside = re.sub(r"(?ms)^(`{3,})text$.*?^\1$", "", text)
    outside = re.sub(r"(?<!`)(`+)(?!`).+?(?<!`)\1(?!`)", "", outside)
    assert not {"javascript", "@team", "<script>", "<!--", "heading"} & set(re.findall(r"[@<\w!-]+>?", outside))
    assert outside.count("\n#") <= 2, "only our own headings"


@given(words=st.text(max_size=60))
def test_a_span_is_one_line_whose_fence_is_not_within_it(words: str) -> None:
    made = span(words)
    assert "\n" not in made
    fence = re.match("`+", made)
    assert fence is not None
    inner = made[len(fence[0]) : -len(fence[0])]
    assert made.endswith(fence[0])
    assert fence[0] not in re.findall("`+", inner)


@given(words=st.text(alphabet="`\n ab", max_size=60))
def test_a_block_ends_where_it_ends(words: str) -> None:
    first, *within, last = block(words).split("\n")
    assert first == f"{last}text"
    assert last not in [line.strip() for line in within]


def test_what_looks_like_a_secret_is_masked_once_more() -> None:
    text = told(
        kind_summary(headline="Refused: password=hunter2secret"), stack="x\n  mongodb://user:hunter2secret@host/ in y"
    )
    assert "hunter2secret" not in text


def test_a_link_ends_where_it_ends() -> None:
    assert "- Page: <https://shop.test/a>\n" in told(kind_summary(), address="https://shop.test/a>\n `")
