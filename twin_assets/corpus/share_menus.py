"""Count a platform's menus and notices in a text by their words, independently of lines.

Scope: rows of buttons within running text, and a list of notices. Out of scope: removing lines
(`boilerplate`, which has a separate list), counting documents (`document_claims`).

A menu lists networks and actions, separated only by white space, bullets and bars. An author who
writes about networks puts commas and words between them. Of 76 articles copied from newsletter
pages, 74 contain such a menu. Most of these articles are a single line.
"""
# pyright: strict

from __future__ import annotations

import re

from twin_assets.corpus.code_blocks import iter_prose_lines

MIN_ITEMS = 4
"""Minimum length of a menu; at least `MIN_NETWORKS` items name a network, and one an action."""
MIN_NETWORKS = 2

_NETWORK_NAMES = (
    *("bluesky", "email", "e-mail", "facebook", "hackernews", "hacker news", "instagram"),
    *("linkedin", "mastodon", "messenger", "pinterest", "pocket", "reddit", "rss", "signal"),
    *("skype", "telegram", "threads", "tumblr", "twitter", "vk", "wechat", "weibo", "whatsapp"),
    *("xing", "youtube", "微博", "微信", "вконтакте", "телеграм"),
)
_NETWORKS = re.compile("|".join(_NETWORK_NAMES), re.IGNORECASE)
_ACTIONS = (
    r"bookmark|comments?|copy(?: the)?(?: link)?|clap|discussions?|follow(?: us)?|like|log in|more"
    r"|notes?|other|print|reply|repost|restacks?|save|send|share(?: this(?: \w+)?)?|sign (?:in|up)"
    r"|subscribe(?: now)?|link"
    r"|drucken|folgen|kommentare?|(?:link )?kopieren|merken|speichern|teilen|weiterleiten"
    r"|copier(?: le lien)?|enregistrer|imprimer|partager|suivre"
    r"|compartir|copiar(?: el| o)?(?: enlace| link)?|guardar|imprimir|seguir|compartilhar|salvar"
    r"|condividi|copia link|stampa|delen|opslaan|afdrukken|поделиться|подписаться|копировать"
    r"|分享|收藏|订阅|共有"
)
_ITEM = re.compile(rf"(?<!\w)(?:{_NETWORKS.pattern}|{_ACTIONS})(?!\w)", re.IGNORECASE)
_SEPARATOR = re.compile(r"[\s>*_|·•∙/+\[\]#-]{1,20}")

# Whole lines that are always buttons, and notices that may be part of any line.
_BUTTONS = frozenset(
    (
        *("open in app", "sign in", "sign up", "subscribe", "subscribe now", "leave a comment"),
        *("share", "share this post", "copy link", "follow", "listen", "report this post"),
        *("member-only story", "get the app", "start writing", "discussion about this post"),
    )
)
_NOTICES = re.compile(
    r"\b(?:site requires javascript to run correctly|or unblock scripts"
    r"|is a reader supported publication|privacy terms collection notice"
    r"|subscribe for free to receive new posts)\b|open in app ?sign ?up ?sign ?in"
)
_MARKUP_CHARACTERS = " \t*_>~"
_HEADING_OR_ITEM = re.compile(r"\s*(?:#{1,6} |[-+*] |\d{1,9}[.)] |\|)")


def count_menus(text: str) -> int:
    """Return the number of menus, buttons and notices in a text outside its code.

    Args:
        text: Markdown, or text without lines and punctuation.
    """
    lines = [line for _, line in iter_prose_lines(text)]
    button_count = sum(
        not _HEADING_OR_ITEM.match(line) and line.strip(_MARKUP_CHARACTERS).casefold() in _BUTTONS
        for line in lines
    )
    prose = re.sub(r"`[^`\n]*`", " , ", "\n".join(lines))
    flat_text = " ".join(re.findall(r"\w+", prose.casefold()))
    return button_count + _count_button_rows(prose) + len(_NOTICES.findall(flat_text))


def _count_button_rows(prose: str) -> int:
    folded_prose = prose.casefold()
    if sum(name in folded_prose for name in _NETWORK_NAMES) < MIN_NETWORKS:
        return 0  # nearly every post; the search below takes .6 ms for two pages
    count = 0
    row: list[str] = []
    end = 0
    for item in _ITEM.finditer(prose):
        if row and not _SEPARATOR.fullmatch(prose, end, item.start()):
            count += _is_menu(row)
            row = []
        row.append(item[0].casefold())
        end = item.end()
    return count + _is_menu(row)


def _is_menu(row: list[str]) -> bool:
    networks = {item for item in row if _NETWORKS.fullmatch(item)}
    is_long = len(row) >= MIN_ITEMS and len(networks) >= MIN_NETWORKS
    return is_long and len(set(row)) > len(networks)
