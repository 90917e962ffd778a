"""Test which JSON of a stranger is accepted, and that it can be stored and written again."""

from __future__ import annotations

import json
from typing import Any

import pytest

from twin_resources.access.refusals import RefusedError
from twin_resources.gateway.api.feedback import read_feedback
from twin_resources.gateway.request.request_body import decode_object
from twin_resources.untrusted_json import MAX_DEPTH, parse_untrusted_json

HOSTILE: dict[str, tuple[bytes, str]] = {
    "NaN": (b'{"a": NaN}', "NaN is not"),
    "-Infinity": (b"[-Infinity]", "-Infinity is not"),
    "a float that overflows": (b'{"a": 1e999}', "1e999 is too large"),
    "an integer of 5,000 digits": (b'{"a": ' + b"9" * 5000 + b"}", "4300"),
    "half of a pair in a key": (b'{"\\ud800": 1}', "surrogate"),
    "half of a pair in a value": (b'{"a": ["x", "\\uDFFF"]}', "surrogate"),
    "a pair in the wrong order": (b'{"a": "\\udc00\\ud800"}', "surrogate"),
    "half of a pair as bytes": (b'{"a": "\xed\xa0\x80"}', "surrogate"),
    "Latin-1": (b'{"a": "\xe9"}', "UTF-8"),
    "lists nested 5,000 deep": (b"[" * 5000 + b"]" * 5000, "deep"),
    "lists nested just too deep": (b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1), "deep"),
    "objects nested too deep": (b'{"a":' * 150 + b"1" + b"}" * 150, "deep"),
    "nothing": (b"", "Expecting value"),
    "two documents": (b"{} {}", "Extra data"),
}
ACCEPTED: dict[bytes, Any] = {
    b'{"a": "\\ud83d\\ude00"}': {"a": "\N{GRINNING FACE}"},
    b'{"a": "\\\\ud800"}': {"a": "\\ud800"},  # a text about an escape
    b"[" * MAX_DEPTH + b"]" * MAX_DEPTH: json.loads("[" * MAX_DEPTH + "]" * MAX_DEPTH),
    b"1.7976931348623157e308": 1.7976931348623157e308,
    b'"\\u0000\\u202e"': "\0\u202e",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_json_is_refused_in_words_that_can_be_sent(name: str) -> None:
    raw, words = HOSTILE[name]
    with pytest.raises(ValueError, match=words) as excinfo:
        parse_untrusted_json(raw)
    assert str(excinfo.value).encode()
    for read in (decode_object, lambda body: read_feedback(body, None)):  # type: ignore[arg-type]
        with pytest.raises(RefusedError) as refusal:
            read(raw)
        assert refusal.value.status == 400
        assert json.dumps(refusal.value.body(), ensure_ascii=False, allow_nan=False).encode()


@pytest.mark.parametrize("raw", ACCEPTED, ids=[str(raw[:20]) for raw in ACCEPTED])
def test_other_json_is_read(raw: bytes) -> None:
    document = parse_untrusted_json(raw)
    assert document == ACCEPTED[raw]
    assert json.dumps(document, ensure_ascii=False, allow_nan=False).encode()
