"""Detect files that are not one person's post: chats, mail and keys.

Scope: detection by content rather than by suffix.
Out of scope: whose post it is (`bylines`), and exports that have an importer (`recognition`).

Formats: WhatsApp's `_chat.txt` (iOS: `[12/03/20, 10:11:12] Ana: …`, Android: `12/03/20,
10:11 - Ana: …`), logs of Telegram, Signal and IRC clients,
https://www.rfc-editor.org/rfc/rfc5322 (mail), https://www.rfc-editor.org/rfc/rfc9580#section-6.2
and https://www.rfc-editor.org/rfc/rfc7468 (`-----BEGIN …-----`).
"""
# pyright: strict

from __future__ import annotations

import re

_MAX_LINES = 400
_MIN_MESSAGES = 2
_MAX_NOTICES = 3
_KEY = re.compile(r"-----BEGIN [A-Z0-9 ]{2,40}-----\s*$", re.MULTILINE)
_DAY = r"(?:\d{1,4}[./-]\d{1,2}[./-]\d{1,4}|\d{1,2}\.? \w{3,9}\.? \d{4})"
_HOUR = r"\d{1,2}[:.]\d{2}(?:[:.]\d{2})?(?:[ \u202f]?[AaPp]\.?[Mm]\.?)?"
_TIME = rf"(?:{_DAY},?[ ]{{1,2}}{_HOUR}|{_HOUR},?[ ]{{1,2}}{_DAY}|{_HOUR})"
_CHAT_MESSAGE = re.compile(
    rf"[\u200e\u200f\ufeff]*(?P<when>\[{_TIME}\]|{_TIME})[ ]?(?:[-–][ ])?"
    r"(?:<[ @+~]?(?P<nick>[^<>\n]{1,40})>[ ]|[ ]?(?P<name>[^\n:]{1,60}):(?:[ ]|$))"
)
_DATE = re.compile(_DAY)
_SPEAKER_LINE = re.compile(r"(?:\*\*)?([^\W\d_][\w.'’ -]{0,30}?)(?:\*\*)?:(?:\*\*)?[ ]+\S")
_MAIL_FIELD = re.compile(
    r"(from|to|cc|subject|date|sent|message-id|received|return-path|delivered-to|mime-version"
    r"|von|an|betreff|gesendet|de|à|objet|para|asunto)[ ]?:[ ]",
    re.IGNORECASE,
)
_SENDER_FIELDS = frozenset({"from", "von", "de", "return-path", "received"})
_MBOX = re.compile(r"From \S+@\S+ .*\d{4}")


def find_rejection_reason(text: str, *, markup: str) -> str:
    """Return `chat`, `mail` or `key_or_signature`, or "" if the text may be a post.

    Args:
        text: the whole file.
        markup: the post's markup; in plain text, a dialogue without times also counts as a chat.
    """
    content = text.lstrip("\ufeff \t\r\n")
    if _KEY.match(content):
        return "key_or_signature"
    lines = [line.strip() for line in content.splitlines()[:_MAX_LINES] if line.strip()]
    if not lines:
        return ""
    if _MBOX.match(lines[0]) or _is_mail(lines):
        return "mail"
    if _is_chat(lines) or (markup == "text" and _is_dialogue(lines)):
        return "chat"
    return ""


def _is_chat(lines: list[str]) -> bool:
    """Return whether a third of the lines are messages with a time and a sender.

    A message may span several lines, and the file may begin with notices. Messages with a time but
    no date may be a one-day personal log, so most senders must recur.
    """
    if not any(map(_CHAT_MESSAGE.match, lines[: _MAX_NOTICES + 1])):
        return False
    messages = [match for line in lines if (match := _CHAT_MESSAGE.match(line))]
    if len(messages) < _MIN_MESSAGES or len(messages) * 3 < len(lines):
        return False
    if any(match["nick"] or _DATE.search(match["when"]) for match in messages):
        return True
    names = [str(match["name"]) for match in messages]
    return sum(names.count(name) > 1 for name in names) * 2 > len(names)


def _is_mail(lines: list[str]) -> bool:
    """Return whether a text begins with at least three mail fields, including a sender."""
    names: set[str] = set()
    for line in lines[:12]:
        match = _MAIL_FIELD.match(line)
        if match is None:
            break
        names.add(match[1].lower())
    return len(names) >= 3 and not names.isdisjoint(_SENDER_FIELDS)


def _is_dialogue(lines: list[str]) -> bool:
    """Return whether most lines are turns (`Ana: …`) of two or more people."""
    names = [match[1].casefold() for line in lines if (match := _SPEAKER_LINE.match(line))]
    speakers = {name for name in names if names.count(name) >= _MIN_MESSAGES}
    turn_count = sum(name in speakers for name in names)
    return len(speakers) >= _MIN_MESSAGES and turn_count * 2 > len(lines)
