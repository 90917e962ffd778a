"""Remove Obsidian comments (`%%…%%`), which are hidden from readers.

Scope: removing comments from a note.
Out of scope: links, embeds and callouts.

Syntax: https://help.obsidian.md/syntax#Comments (inline or as a block, but never in code). An
unclosed `%%` alone on a line hides the rest of the note.
"""
# pyright: strict

from __future__ import annotations

import re

from twin_assets.corpus.importers.code_regions import split_code_regions


def remove_obsidian_comments(markdown: str) -> str:
    """Remove the text between `%%` marks; if there are none, return the same object.

    A comment may contain code, but `%%` inside code neither starts nor ends a comment.
    """
    if "%%" not in markdown:
        return markdown
    mark_positions: list[int] = []
    position = 0
    for part, is_code in split_code_regions(markdown):
        if not is_code:
            mark_positions += [position + match.start() for match in re.finditer("%%", part)]
        position += len(part)
    parts: list[str] = []
    end = 0
    for comment_start, comment_end in zip(mark_positions[::2], mark_positions[1::2], strict=False):
        parts.append(markdown[end:comment_start])
        end = comment_end + 2
    remainder = markdown[end:]
    if len(mark_positions) % 2:
        mark_position = mark_positions[-1] - end
        line = remainder[remainder.rfind("\n", 0, mark_position) + 1 :].split("\n", 1)[0]
        remainder = (
            remainder[: remainder.rfind("\n", 0, mark_position) + 1]
            if line.strip() == "%%"
            else remainder
        )
    return "".join([*parts, remainder])
