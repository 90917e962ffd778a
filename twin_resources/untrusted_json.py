"""Read JSON that somebody else wrote, so that whatever is accepted can be stored and written again.

Python's parser accepts more than JSON (RFC 8259): `NaN`, numbers that overflow to infinity, and
halves of surrogate pairs. SQLite, UTF-8 and every JSON writer refuse them later, where one such
value makes a whole page unreadable.
"""
# pyright: strict

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from typing import Any, cast

MAX_DEPTH = 100  # nested lists and objects; a recursive reader of ours needs some frames a level
# Where half of a pair can come from: an escape, or its three bytes, which are not UTF-8.
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]|\xed[\xa0-\xbf]")


def parse_untrusted_json(
    raw: bytes | str,
    *,
    parse_int: Callable[[str], Any] = int,
    parse_float: Callable[[str], Any] | None = None,
) -> Any:
    """Parse a JSON document in UTF-8.

    Args:
        parse_int, parse_float: see `json.loads`. By default, a float must be finite.

    Raises:
        ValueError: it is not JSON, a number is not finite, a text cannot be encoded, or it is
            nested too deeply. The message can be quoted to its sender.
    """
    data = raw.encode("utf-8", "surrogatepass") if isinstance(raw, str) else raw
    try:
        document = json.loads(
            data,
            parse_int=parse_int,
            parse_float=parse_float or _parse_finite,
            parse_constant=_refuse_constant,
        )
        if _measure_depth(document) > MAX_DEPTH:
            raise RecursionError
        if _SURROGATE.search(data):
            json.dumps(document, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise ValueError("a text has half of a surrogate pair (\\ud800 to \\udfff)") from error
    except UnicodeDecodeError as error:
        raise ValueError("it is not UTF-8") from error
    except RecursionError as error:
        raise ValueError(f"it is nested more than {MAX_DEPTH} levels deep") from error
    return document


def _parse_finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError(f"the number {digits[:40]} is too large")
    return number


def _refuse_constant(constant: str) -> float:
    raise ValueError(f"{constant} is not a JSON number")


def _measure_depth(document: object) -> int:
    depth, level = 0, [document]
    while level:
        next_level: list[object] = []
        has_container = False
        for item in level:
            if isinstance(item, dict):
                next_level += cast("dict[str, object]", item).values()
            elif isinstance(item, list):
                next_level += cast("list[object]", item)
            else:
                continue
            has_container = True
        depth, level = depth + has_container, next_level
    return depth
