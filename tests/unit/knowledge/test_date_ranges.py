"""Test which ranges of posts' dates a question names, and which dates are none."""

from __future__ import annotations

from datetime import date

import pytest

from twin_resources.models.retrieval.date_ranges import find_date_range

TODAY = date(2026, 11, 30)


@pytest.mark.parametrize(
    ("question", "first", "last", "searched"),
    [
        ("What have you written about oil since 2024?", "2024-01-01", "2026-11-30", "about oil ?"),
        ("What did you think of Go in 2019?", "2019-01-01", "2019-12-31", "of Go ?"),
        ("What did Lindqvist say in March 2021?", "2021-03-01", "2021-03-31", "Lindqvist say ?"),
        (
            "On May 3rd 2014 you wrote about glue",
            "2014-05-03",
            "2014-05-03",
            "you wrote about glue",
        ),
        ("before 2010, did you use git?", "", "2009-12-31", "did you use git?"),
        ("Anything after 2020 on vim?", "2021-01-01", "2026-11-30", "on vim?"),
        ("until 2015 you used brass", "", "2015-12-31", "you used brass"),
        ("What changed between 2015 and 2018?", "2015-01-01", "2018-12-31", "What changed ?"),
        ("since 2015, but before 2018, your view?", "2015-01-01", "2017-12-31", "your view?"),
        ("Your 2016 posts on oil", "2016-01-01", "2016-12-31", "Your posts on oil"),
        ("posts from the summer of 2016", "2016-01-01", "2016-12-31", "posts"),
        ("Did you use Emacs in the 1990s?", "1990-01-01", "1999-12-31", "use Emacs ?"),
        ("What did you build last year?", "2025-01-01", "2025-12-31", "you build ?"),
        ("tools, in the last two years", "2024-11-30", "2026-11-30", "tools,"),
        ("Was hast du 2019 über Uhren gedacht?", "2019-01-01", "2019-12-31", "du über Uhren"),
        ("vor zwei Jahren hast du was gesagt?", "2024-01-01", "2024-12-31", "hast du was"),
        ("depuis 2020, que penses-tu de vim ?", "2020-01-01", "2026-11-30", "que penses-tu"),
        ("Any posts on gardening from 2021?", "2021-01-01", "2021-12-31", "posts on gardening"),
        ("Was hast du in 2021 gemacht?", "2021-01-01", "2021-12-31", "du gemacht?"),
        ("I'd like to know what you wrote in 2019", "2019-01-01", "2019-12-31", "you wrote"),
        ("¿Qué pensabas de vim en marzo de 2019?", "2019-03-01", "2019-03-31", "de vim ?"),
    ],
)
def test_a_question_names_a_range(question: str, first: str, last: str, searched: str) -> None:
    found = find_date_range(question, TODAY, author="mara-lindqvist")
    assert found is not None
    assert (found.first.isoformat() if found.first else "", found.last.isoformat()) == (first, last)
    assert searched in found.question


@pytest.mark.parametrize(
    "question",
    [
        "Is the 2019 MacBook any good for you?",
        "How do I open port 2020?",
        "Can you sort them in 2000 rows?",
        "Would you fit it in 1920 x 1080?",
        "since 2019.3 is it broken?",
        "Do you live after 2000 Main Street?",
        "Do you follow RFC 2119, may I ask?",
        "How was the flood in 1953?",
        "Is the laptop from 2019 still fine for you?",
        "What did you mean by “in 2019”?",
        "Will you still write in 2031?",
        "Not in 2019, when then did you say it?",
        "in 2012 and again in 2019, your view?",  # no day in common
        "What did you do in the last years?",
        "Since 2010 I have used vim. Do you?",
        "My mum died last year, and I read your piece on her.",
        "We bought it in March 2021. What would you have done?",
        "What should you do on Monday?",
        f"You said in 2019: {'a pasted text ' * 30}",
    ],
)
def test_a_date_that_is_no_range(question: str) -> None:
    assert find_date_range(question, TODAY) is None
