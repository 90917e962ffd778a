"""Take a generator's layout out of a post: template tags, Obsidian's comments, unfilled templates.

No template is run: what a tag prints depends on the site and is not the author's text.

Tags: https://shopify.github.io/liquid/, https://jekyllrb.com/docs/liquid/tags/ (`codeblock` and
`blockquote` are Octopress'), https://gohugo.io/content-management/shortcodes/ (a quoted shortcode
is written `{{</* name */>}}`), https://help.obsidian.md/syntax#Comments.
Templates: https://jinja.palletsprojects.com/en/stable/templates/, https://pkg.go.dev/text/template,
https://help.obsidian.md/plugins/templates, https://silentvoid13.github.io/Templater/.
"""
# pyright: strict

from __future__ import annotations

import re
from functools import cache

from twin_assets.corpus.importers.code_regions import CODE, FLAGS, split_code_regions

# Tags by the name of their generator's language. Blocks that are not printed as they are written
# and that are never closed go on to the end.
_TAGS = {
    "liquid": (
        r"\{%-?\s*raw\s*-?%\}(?P<raw>.*?)(?:\{%-?\s*endraw\s*-?%\}|\Z)"
        r"|\{%-?\s*(?P<unprinted>comment|for|tablerow|capture)\b.*?"
        r"(?:\{%-?\s*end(?P=unprinted)\s*-?%\}|\Z)"
        r"|\{%-?\s*(?P<quote>(?:block)?quote)\b[^}]{0,2000}?%\}(?P<quoted>.*?)"
        r"(?:\{%-?\s*end(?P=quote)\s*-?%\}|\Z)"
        r"|\{\{-?\s*(?:\"(?P<literal>[^\"\n]{0,200})\"|'(?P<literal_2>[^'\n]{0,200})')"
        r"[^{}]{0,2000}\}\}"
        r"|\{%(?:[^{%]|%(?!\})|\{(?!%)){0,2000}?%\}|\{\{(?:[^{}]|\}(?!\})|\{(?!\{)){0,2000}\}\}"
    ),
    "shortcodes": (
        r"(?P<opening>\{\{[<%])/\*(?P<escaped>(?:[^{]|\{(?!\{[<%])){0,2000}?)\*/(?P<closing>[%>]\}\})"
        r"|\{\{<\s*(?P<unprinted>[\w-]+\.inline)\b[^/{}]{0,2000}>\}\}.*?"
        r"(?:\{\{<\s*/\s*(?P=unprinted)\s*>\}\}|\Z)"
        r"|\{\{[<%]\s*(?P<quote>(?:block)?quote)\b[^{}]{0,2000}[%>]\}\}(?P<quoted>.*?)"
        r"(?:\{\{[<%]\s*/\s*(?P=quote)\s*[%>]\}\}|\Z)"
        r"|\{\{<(?:[^{]|\{(?!\{[<%])){0,2000}?>\}\}|\{\{%(?:[^{]|\{(?!\{[<%])){0,2000}?%\}\}"
    ),
}
_ANY_TAG = re.compile(r"\{%[^{}]{0,2000}%\}|\{\{[^{}]{0,2000}\}\}")
_RAW_MARK = re.compile(r"\{%-?\s*(?:end)?raw\s*-?%\}")
_CODEBLOCK = re.compile(r"(\{%-?[ \t]*(?:end)?)codeblock\b")
_ESCAPED = re.compile(r"(\{\{[<%])/\*(.{0,2000}?)\*/([%>]\}\})", re.DOTALL)

# Tags that occur only in page templates. A post that quotes such a tag formats it as code.
_PAGE_TEMPLATE_TAG = re.compile(
    r"\{%[-+]?\s*(?:extends|block|include|for|if|macro|load|import|from|set|assign|unless)\b"
    r"|\{\{-?\s*(?:block|define|template|partial|range|with|if|end|#each|#if|>|\.[A-Z]|site\.|page\.)"
    r"|<\?php|<%[=@#-]"
)
# A placeholder for a note's title or date, which Obsidian, Templater, Hexo or Hugo replaces.
_NOTE_TEMPLATE_FIELD = re.compile(
    r"<%[-_*+]?\s*tp\.|^\"?(?:title|date|created|updated)\"?[ \t]*[:=][ \t]*[\"']?\{\{.{0,80}?\}\}",
    re.MULTILINE,
)
_HEAD_CHARACTERS = 1_000


@cache
def _compile_tags(language: str, markup: str) -> re.Pattern[str]:
    return re.compile(rf"(?P<code>{CODE[markup]})|{_TAGS[language]}", FLAGS)


def remove_template_tags(text: str, language: str, *, markup: str = "markdown") -> str:
    """Return a body without tags, but with quoted code and the words between tags.

    Args:
        text: a body in `markup`.
        language: `liquid` (Jekyll, Hexo) or `shortcodes` (Hugo).
        markup: `html`, or any other value for Markdown.
    """
    if "{%" not in text and "{{" not in text:
        return text
    is_html = markup == "html"

    def quote_code(code: str) -> str:
        return f"<code>{code}</code>" if is_html else f"`{code}`"

    def replace(match: re.Match[str]) -> str:
        fields = match.groupdict()
        if match["code"]:
            if language == "shortcodes":
                return _ESCAPED.sub(r"\1\2\3", match[0])
            return _CODEBLOCK.sub(r"\1highlight", _RAW_MARK.sub("", match[0]))
        if (raw := fields.get("raw")) is not None:
            # Template text in a sentence becomes code, which cleaning keeps.
            is_span = "{" in raw and "\n" not in raw and "`" not in raw
            return quote_code(raw.strip()) if is_span else raw
        if fields.get("escaped") is not None:
            return quote_code(match["opening"] + match["escaped"] + match["closing"])
        if match["quote"]:  # somebody else's words
            words = _ANY_TAG.sub("", match["quoted"])
            lines = "\n".join(f"> {line}".rstrip() for line in words.strip("\n").split("\n"))
            return f"<blockquote>{words}</blockquote>" if is_html else f"\n\n{lines}\n\n"
        return fields.get("literal") or fields.get("literal_2") or ""

    return _compile_tags(language, "html" if is_html else "markdown").sub(replace, text)


def remove_obsidian_comments(markdown: str) -> str:
    """Return a note without the text between `%%` marks; `%%` in code is no mark.

    An unclosed `%%` alone on a line hides the rest of the note.
    """
    if "%%" not in markdown:
        return markdown
    marks: list[int] = []
    position = 0
    for part, is_code in split_code_regions(markdown):
        if not is_code:
            marks += [position + match.start() for match in re.finditer("%%", part)]
        position += len(part)
    if len(marks) % 2:
        start = markdown.rfind("\n", 0, marks[-1]) + 1
        is_alone = markdown[start:].split("\n", 1)[0].strip() == "%%"
        marks[-1:] = [start, len(markdown)] if is_alone else []
    ends = [0, *(end + 2 for end in marks[1::2])]
    starts = [*marks[::2], len(markdown)]
    return "".join(markdown[end:start] for end, start in zip(ends, starts, strict=True))


def is_template(text: str, *, markup: str) -> bool:
    """Return whether a file, including its front matter, is a template of a page or a note.

    Args:
        text: the whole file, from a site whose generator does not resolve such tags in posts.
        markup: `html` for a page; any other value for a note.
    """
    if markup != "html":
        match = _NOTE_TEMPLATE_FIELD.search(text[:_HEAD_CHARACTERS])
        return match is not None and not text[: match.start()].count("```") % 2
    return bool(_PAGE_TEMPLATE_TAG.search(text)) and any(
        _PAGE_TEMPLATE_TAG.search(part)
        for part, is_code in split_code_regions(text, markup=markup)
        if not is_code
    )
