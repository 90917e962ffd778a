"""Test whose words the turns of an interview are."""

from __future__ import annotations

import pytest

from tests.unit.corpus.test_cleaning import build_raw_rows
from twin_assets.corpus.cleaning import clean_all_posts
from twin_assets.corpus.speakers import mark_other_speakers

NAMES = ("Ana Ruiz",)
QUESTION, ANSWER = "Why do clocks stop at night?", "Because nobody listens to them then."


def make_dialogue(asks: str, answers: str) -> str:
    return f"An introduction.\n\n{asks} {QUESTION}\n\n{answers} {ANSWER}\n\nAnd a second paragraph."


@pytest.mark.parametrize(
    ("asks", "answers", "own"),
    [
        ("**Ana:**", "**Bob:**", [QUESTION]),
        ("**Bob Roe**:", "**Ana Ruiz**:", [ANSWER, "And a second paragraph."]),
        ("Bob:", "AR:", [ANSWER, "And a second paragraph."]),
        ("Me:", "The clockmaker's wife:", [QUESTION]),
        ("**Cy Moe:**", "**Bob Roe:**", []),
        # neither of them is known to be a person, or the author
        ("**Cy:**", "**Bob:**", [QUESTION, ANSWER, "And a second paragraph."]),
        ("Problem:", "Solution:", [QUESTION, ANSWER, "And a second paragraph."]),
    ],
)
def test_only_the_authors_turns_are_the_authors(asks: str, answers: str, own: list[str]) -> None:
    dialogue = make_dialogue(asks, answers)
    text = f"{dialogue}\n\n{dialogue}\n\n## Afterwards\n\nWe had tea, and the clock struck."
    marked = mark_other_speakers(text, NAMES)
    assert marked.replace("> ", "") == text, "a word was lost"
    lines = [line for line in marked.split("\n") if line and not line.startswith(">")]
    for words in (QUESTION, ANSWER, "And a second paragraph."):
        assert any(words in line for line in lines) == (words in own), words
    assert lines[0] == "An introduction."
    assert lines[-1] == "We had tea, and the clock struck."


HOSTS = ("**Cy Moe:**", "**Di van Roe:**")


@pytest.mark.parametrize(
    ("labels", "is_interview"),
    [
        (HOSTS, True),
        # a break, and a guest without a full name
        ((*HOSTS, "**Break:** [16:03]"), True),
        ((*HOSTS, "**$STDOUT:**"), True),
        ((*HOSTS, "**Break:**", "**$STDOUT:**", "**Tip:**", "**Note:**", "**Fun:**"), False),
        (("**Cy Moe:**", "**Break:**"), False),
        (("**Known problem:**", "**Known solution:**"), False),
    ],
)
def test_one_odd_label_stops_no_interview(labels: tuple[str, ...], *, is_interview: bool) -> None:
    text = "\n\n".join(f"{label} {ANSWER}" for label in labels * 2)
    marked = mark_other_speakers(text, NAMES)
    assert marked == ("> " + text.replace("\n\n", "\n\n> ") if is_interview else text)


@pytest.mark.parametrize(
    ("turns", "own"),
    [
        # a whole question is bold, and initials follow the names
        (["**Ana Ruiz: {}**", "**Dr. Bob Roe:** {}", "**AR: {}**", "**BR:** {}"], [0, 2]),
        (["**Bob Roe: {}**", "**Ana Ruiz:** {}", "**BR:{}**", "**AR:** {}"], [1, 3]),
        (["**Cy Moe: {}**", "**Di Roe:** {}", "**CM: {}** And so?", "**DR:** {}"], []),
        (["**AR: {}**", "**B.R.:** {}", "**AR: {}**", "**B.R.:** {}"], [0, 2]),
        # they are another speaker's
        (["**Al Rey:** {}", "**Ana Ruiz:** {}", "**A.R.:** {}", "**Ana Ruiz:** {}"], [1, 3]),
        # notes, and one speaker
        (["**Note: {}**", "**Ana:** {}", "**Note: {}**", "**Ana:** {}"], [0, 1, 2, 3]),
        (["**Bob Roe: {}**", "{}", "**Bob Roe: {}**", "{}"], [0, 1, 2, 3]),
    ],
)
def test_bold_turns_and_initials_are_their_speakers(turns: list[str], own: list[int]) -> None:
    lines = [turn.format(f"{number} {ANSWER}") for number, turn in enumerate(turns)]
    marked = mark_other_speakers("\n\n".join(lines), NAMES).split("\n\n")
    assert marked == [line if i in own else f"> {line}" for i, line in enumerate(lines)]


@pytest.mark.parametrize(
    ("greeting", "question", "is_others"),
    [
        ("## Hi, Bob. Who are you?", "## And why do clocks stop?", True),
        ("1. **Hello Bob, who are you?**", "2. **And why do clocks stop?**", True),
        # a guest who is the author, and questions to nobody
        ("## Hi, Ana. Who are you?", "## And why do clocks stop?", False),
        ("## Who are you?", "## And why do clocks stop?", False),
    ],
)
def test_answers_below_questions_to_a_guest_are_the_guests(
    greeting: str, question: str, *, is_others: bool
) -> None:
    answer = f"   {ANSWER}\n\n   ### In short\n\n   {ANSWER}" if "**" in question else ANSWER
    blocks = ["I met him.", greeting, answer, question, answer, question, answer, "# Then", "Tea."]
    text = "\n\n".join(blocks)
    others = {ANSWER, "### In short"} if is_others else set[str]()
    assert mark_other_speakers(text, NAMES).split("\n\n") == [
        f"> {line.strip()}" if line.strip() in others else line for line in text.split("\n\n")
    ]


def test_code_in_a_turn_of_another_stays_one_block() -> None:
    code = "```\na: 1\n\nb: 2\n```"
    text = "\n\n".join([f"Ana: {QUESTION}", f"Bob: {ANSWER}", code] * 2)
    assert mark_other_speakers(text, NAMES).count("> ```\n> a: 1\n> \n> b: 2\n> ```") == 2


@pytest.mark.parametrize("markup", ["markdown", "html", "text"])
def test_an_interview_of_any_format_is_cleaned(markup: str) -> None:
    turns = [("Ana", QUESTION), ("Bob", ANSWER)] * 3
    text = "\n\n".join(
        f"<p><b>{name}:</b> {words}</p>" if markup == "html" else f"{name}: {words}"
        for name, words in turns
    )
    posts = build_raw_rows({"text": text, "markup": markup})
    [row] = clean_all_posts(posts, names=NAMES).to_dicts()
    lines = row["text"].split("\n")
    assert sum(line.startswith("> ") for line in lines) == 3
    assert not any(ANSWER in line for line in lines if not line.startswith(">"))
