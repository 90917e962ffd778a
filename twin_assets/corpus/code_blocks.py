"""Code in a post: how it is fenced, and the template tags by which site generators mark it.

Belongs here: what Markdown and HTML cleaning share about code. Does not belong here: either
cleaning.
Tags: https://jekyllrb.com/docs/liquid/tags/, https://gohugo.io/shortcodes/highlight/
"""
# pyright: strict

from __future__ import annotations

import re

# {% highlight c %} … {% endhighlight %} (Jekyll) and {{< highlight c >}} … {{< /highlight >}}
# (Hugo); group 1 is the language, group 2 the code.
HIGHLIGHT = re.compile(
    r"\{(?:%-?|\{[<%])\s*highlight\s+([\w+#-]*)[^%>}]*(?:-?%|[%>]\})\}[ \t]*\n?"
    r"(.*?)"
    r"\n?[ \t]*\{(?:%-?|\{[<%])\s*(?:/\s*|end)highlight\s*(?:-?%|[%>]\})\}",
    re.DOTALL,
)


def fenced(code: str, language: str = "") -> str:
    """A fenced code block that no run of back-ticks inside can close."""
    runs = (len(run) for run in re.findall(r"^[ \t]*(`{3,})", code, re.MULTILINE))
    fence = "`" * (max(runs, default=2) + 1)
    return f"{fence}{language}\n{code.rstrip()}\n{fence}"
