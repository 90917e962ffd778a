"""What the patterns find, and what they leave alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twin_resources.privacy import count_personal, replace_personal


@pytest.mark.parametrize(
    ("text", "replaced"),
    [
        ("Mail me: ann.bell+clocks@mail.example.co.uk.", "Mail me: [e-mail]."),
        ("jürgen@müller.de wrote", "[e-mail] wrote"),
        ("Call +49 170 1234567 or (030) 123-4567.", "Call [phone] or [phone]."),
        ("0170/1234567, 415-555-2671", "[phone], [phone]"),
        ("card 4111 1111 1111 1111 please", "card [card] please"),
        ("5500-0000-0000-0004", "[card]"),
        ("from 192.168.10.7 and 2001:db8:0:0:8a2e::7334", "from [ip address] and [ip address]"),
        ("sk-proj-abcdefghijklmnopqrstuvwx", "[key]"),
        ("AKIAIOSFODNN7EXAMPLE", "[key]"),
        ("token eyJhbGciOiJI.eyJzdWIiOiIx.SflKxwRJSMeKKF2Q", "token [key]"),
        ("password: hunter22!", "password: [key]"),
        ("API_KEY=abcdef123456", "API_KEY=[key]"),
        ("-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----", "[key]"),
    ],
)
def test_personal_data_is_replaced_by_what_it_was(text: str, replaced: str) -> None:
    assert replace_personal(text) == replaced


@pytest.mark.parametrize(
    "text",
    [
        "In 2024 I wrote 120 posts; version 3.11.7 took 1.5 s, 10,000,000 rows.",
        "std::vector<int> and a::b::c, 12:30:45, 2026-11-20T08:00:00",
        "ISBN 978-3-16-148410-0 has 13 digits and no card's check sum",
        "1234 5678 9012 3456 is no card: its check digit is wrong",
        "user@host:/path, @ann, 256.300.1.2, price $1,999.00, 3.14159265358979",
        "sha 4bf92f3577b34da6a3ce929d0e0e4736, the token is short",
        "0.1.2.3.4 and 1.2.3",
    ],
)
def test_what_only_looks_like_it_stays(text: str) -> None:
    assert replace_personal(text) == text


def test_kinds_are_counted() -> None:
    text = "a@example.org, b@example.org, 192.168.0.1"
    assert count_personal(text)[1] == {"e-mail": 2, "ip address": 1}
    assert count_personal("")[1] == {}


@given(st.text(max_size=200))
def test_replaced_text_has_nothing_left(text: str) -> None:
    once = replace_personal(text)
    assert replace_personal(once) == once


@given(st.text(alphabet="0123456789 +-.()/@:aeks_=[]", max_size=120))
def test_so_has_text_that_is_full_of_digits(text: str) -> None:
    once = replace_personal(text)
    assert replace_personal(once) == once


def test_a_long_text_takes_no_long_time() -> None:
    for piece in ("a.", "1 ", "1.", ":a", "a@", "sk-", "+1 ", "aaaa-", "password "):
        assert isinstance(replace_personal(piece * 20_000), str)
