"""Test which personal data is replaced, which similar text stays, and properties of redaction."""

from __future__ import annotations

import time
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twin_resources.privacy import (
    KINDS,
    TextSpan,
    find_personal_data,
    redact,
    redact_text,
)
from twin_resources.privacy.kinds import merge_overlapping
from twin_resources.privacy.stated_data import find_stated_personal_data


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Mail me: ann.bell+clocks@mail.example.co.uk.", "Mail me: [e-mail]."),
        ("jürgen@müller.de wrote", "[e-mail] wrote"),
        ("ann (at) bell (dot) org or bob at bell dot org", "[e-mail] or [e-mail]"),
        ("ann.bell(at)bell.org, bob [at] bell.de", "[e-mail], [e-mail]"),
        ("ann[ät]bell.de {at}, x (AT) bell[.]org", "[e-mail] {at}, [e-mail]"),
        ("ann AT bell DOT com, ann arroba casa punto es", "[e-mail], [e-mail]"),
        ("ann dot bell at home dot co dot uk", "[e-mail]"),
        ("<mailto:ann@bell.org>, %3Cnobody", "<mailto:[e-mail]>, %3Cnobody"),
        ("当你给a@b.net发邮件的时候", "当你给[e-mail]发邮件的时候"),
        ("メールはann@bell.orgまで, иван@почта.рф", "メールは[e-mail]まで, [e-mail]"),
        ("Call +49 170 1234567 or (030) 123-4567.", "Call [phone] or [phone]."),
        ("0170/1234567, 415-555-2671", "[phone], [phone]"),
        ("Call me at 22 12 34 56, mobile: 0612345678", "Call me at [phone], mobile: [phone]"),
        (
            "Tel. 02 125 886; Telefon: 0711 5210-0 (20 Cent)",
            "Tel. [phone]; Telefon: [phone] (20 Cent)",
        ),
        ("電話03-1234-5678です", "電話[phone]です"),
        ("phone: '555-1313', call her on 612 34 56 78", "phone: '[phone]', call her on [phone]"),
        ("001-415-555-2671x123 (555)2344567", "[phone] [phone]"),
        ("555-123-4567, (555) 010-0199, +1-202-555-0173", "[phone], [phone], [phone]"),
        ("card 4111 1111 1111 1111 please", "card [card] please"),
        ("5500-0000-0000-0004, 3782 822463 10005", "[card], [card]"),
        ("to DE89 3704 0044 0532 0130 00 and GB82WEST12345698765432!", "to [iban] and [iban]!"),
        ("from 93.184.216.34 and 2a02:8108:0:0:8a2e::7334", "from [ip address] and [ip address]"),
        ("SSN 536-22-8726, ssn: 536228726", "SSN [ssn], ssn: [ssn]"),
        ("CPF 390.533.447-05, NINO AB 12 34 56 C", "CPF [national id], NINO [national id]"),
        ("sk-proj-abcdefghijklmnopqrstuvwx", "[key]"),
        ("AKIAIOSFODNN7EXAMPLE", "[key]"),
        ("token eyJhbGciOiJI.eyJzdWIiOiIx.SflKxwRJSMeKKF2Q", "token [web token]"),
        ("password: hunter22!", "password: [secret]"),
        ("my password is hunter22!", "my password is [secret]"),
        ("API_KEY=abcdef123456", "API_KEY=[secret]"),
        ('"aws_secret_access_key": "wJalrXUtnFEMI/K7MDENG"', '"aws_secret_access_key": "[secret]"'),
        ("Authorization: Bearer 9f8aK2mQ7xT4vB1nZ6", "Authorization: Bearer [secret]"),
        ("Authorization: Basic YW5uOnQwcHMzY3JldA==", "Authorization: Basic [secret]"),
        ("?access_key=f68b13604ac8e570a00f&format=1", "?access_key=[secret]&format=1"),
        ("postgres://ann:t0ps3cr@db.bell.org/x", "postgres://ann:[secret]@db.bell.org/x"),
        ("-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----", "[private key]"),
    ],
)
def test_personal_data_is_replaced_by_its_kind(text: str, expected: str) -> None:
    assert redact_text(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        # numbers that are not personal data
        "In 2024 I wrote 120 posts; version 3.11.7 took 1.5 s, 10,000,000 rows.",
        "std::vector<int> and a::b::c, 12:30:45, 2026-11-20T08:00:00",
        "ISBN 978-3-16-148410-0 has 13 digits and no card's check sum",
        "1234 5678 9012 3456 is no card: its check digit is wrong",
        "256.300.1.2, price $1,999.00, 3.14159265358979, 2^52 = 4503599627370496",
        "0.1.2.3.4 and 1.2.3, C99 § 6.3.2.3, rails (6.1.0, 6.0.3.4), Chrome/45.0.245.85",
        "48 8d 05 00 00 00 00 and 61 6d 01 00 03 28 29 |",
        "1990-2000, 2001-02-03, 01/02/2003, from 10 000 000 to 20 000 000",
        "| 256 128 1024 | 512 100 2048 |",
        "18:00 +0100, 1e+10, x = y +1234567",
        # hashes and identifiers in code
        "sha 4bf92f3577b34da6a3ce929d0e0e4736, the token is short",
        "commit 0c0df888f45f5a11cbb94fca1e2fd7a1f8e3ad44, f81d4fae-7dec-11d0-a765-00a0c91e6bf6",
        # documentation and local addresses
        "curl http://127.0.0.1:3000 http://192.168.10.7/ 10.0.0.1 203.0.113.9 ::1 fe80::1 8.8.8.8",
        "2001:db8::7334, 255.255.255.0, 169.254.169.254, 198.51.0.0/16",
        "ann@example.com, bob@mail.example.org, eve@host.test, root@localhost",
        "git clone git@github.com:ann/clocks.git; noreply@bell.org; 1+ann@users.noreply.github.com",
        "@ann@social.bell.org, icon@2x.png, getty@tty1.service, user@host:/path, lodash@4.17.21",
        "https://lists.bell.org/%3C3098b0421@app.bell.com%3E",
        # the word "at" in prose, and example domains
        "we looked at the dot com boom, at this point in time, meet (at) noon, foo [at] icon.png",
        "you (at) example.com",
        # names of secrets without a value
        "a basic Being-in-the-world of clocks, the bearer of-tidings-from-the-North",
        "password: “Senha”, 'reset/:token' => 'login#password_reset', credentials=props##token",
        "token = Base64.urlsafe_encode64(bytes), http://#{key}:#{secret}@#{url}/api",
        "password = params[:password]; token = lexer.next_token(2); secret: ENV['SECRET1']",
        'password: "password123", api_key = "your-api-key-1", token: <token1>, PWD=/home/ann1',
        "tokenizer = bert-base-2, password_digest: string, the password is required",
        "postgres://user:password@localhost/db",
        "Culture=neutral, PublicKeyToken=b77a5c561934e089",
        "a key starts with -----BEGIN RSA PRIVATE KEY----- and ends with -----END",
    ],
)
def test_similar_text_is_not_changed(text: str) -> None:
    assert redact(text).text is text
    assert find_personal_data(text) == ()


def test_kinds_are_counted() -> None:
    text = "a@bell.org, b@bell.org, 93.184.216.34"
    assert redact(text).counts == {"e-mail": 2, "ip address": 1}
    assert redact("").counts == {}


def test_the_region_or_language_decides_the_format_of_numbers() -> None:
    text = "Mijn nummer: 612 34 56 78. PESEL 44051401359."
    assert redact("612 34 56 78", region="ES").counts == {"phone": 1}
    assert redact("612 34 56 78", region="es").counts == {"phone": 1}
    assert redact("612 34 56 78").counts == {}
    assert redact("612 34 56 78", region="no such place").counts == {}
    assert "44051401359" not in redact(text).text


@pytest.mark.parametrize("region", ["en", "de", "fr", "fi"])
@pytest.mark.parametrize(
    "text",
    [
        "Output: 8 20 18 11 13 13 5",
        "(2013 79043 79290 79537 79564 79635 79784 79811 79882)",
        "10 20 30 40 50 60 70 80",
        "1227160  936 pts/0  0.0  0.0 878915  0.9  6.5 830996 261748",
        "bitfield 3.484818891 EnumSet 40.000000 and 381.421875",
        "to 192.168.144.1 (192.168.144.1) 1.209 ms, erl_eval <6.52032458/1>",
        "{:a (1 2 5 4 1), :b (3 4), :c (5 4 1)}",
        "38  08-22-2026 08:53 data.json, 12.2.0-14",
        "00000070  72 63 65 46 69 6c 65 01  00 05 31 37",
        ": 1654378690:0;tail ~/.zsh_history",
    ],
)
def test_columns_lists_and_versions_are_not_phone_numbers(text: str, region: str) -> None:
    assert find_personal_data(text, region=region) == ()


@pytest.mark.parametrize("region", ["", "en", "de", "fr", "es", "pt", "it", "nl"])
@pytest.mark.parametrize(
    "text",
    [
        "120-150 Euro, 2500–3500 mAh, 845 825 €, 4.294.967.295 valores",
        "1888/89, 2022/23, 1780–1830, (EU) Nr. 508/2014, (EU) 2016/679, DIN 38407-43",
        "-rw-r--r-- 1 ann staff 808367 1999-10-10 12:31 notes.txt",
        "02.06 2004, 08-10.2025, 08.30-12.00 Uhr, 15.09.–16.09.2025, Zeit 09 00 - 17 00",
        "objects: 100% (43413/43413), done. 22207/22208 with 1/1/0",
        "ISBN 9780131103627, ISBN 0465048994, 9788020410443",
        "01000001 | 01010100, 0100644 blob, :040000 tree",
        "00000040: c05e a503 0040 0000 684b 0000 2802 0000 5700",
        "CAS 0145650-60-8 und EINECS 202-974-4",
        "my phone: 1 200 000 sold, mobile 120 000 users, phone encoding 2/2 (2021)",
        '{"mobile": 213920363, "seed": 2089325119, "id": 28062128369}',
        "20 / 7 = 2.857142857142857, 202001011234, 1450734448",
        "01 02 03 04 05, so 1-234-567-8910, mask (99) 9999-9999",
        "51 Franklin Street, Fifth Floor, Boston, MA  02110-1301  USA; CEP 01310-100, PLZ 04109",
        "108 214 | 28062128369 | 28392727498",
    ],
)
def test_other_numbers_are_not_changed(text: str, region: str) -> None:
    assert find_personal_data(text, region=region) == ()


@pytest.mark.parametrize(
    ("text", "region"),
    [
        ("030 / 123 45 67", "de"),
        ("0171 - 123 45 67", "de"),
        ("(020) 7946 0958", "en"),
        ("06.12.34.56.78", "fr"),
        ("912 345 678", "es"),
        ("in 2019, 612 34 56 78", "es"),
    ],
)
def test_national_phone_numbers_are_found(text: str, region: str) -> None:
    assert redact(text, region=region).counts == {"phone": 1}


def test_overlapping_spans_are_merged_into_the_more_certain_kind() -> None:
    spans = [
        TextSpan(5, 9, "phone"),
        TextSpan(0, 6, "card"),
        TextSpan(9, 12, "phone"),
        TextSpan(20, 21, "iban"),
    ]
    assert merge_overlapping(spans) == (
        TextSpan(0, 9, "card"),
        TextSpan(9, 12, "phone"),
        TextSpan(20, 21, "iban"),
    )
    assert merge_overlapping([]) == ()


_PIECES = st.sampled_from(
    [
        *("+49 170 1234567", "415-555-2671", "ann@bell.org", "4111 1111 1111 1111", "536-22-8726"),
        *("DE89 3704 0044 0532 0130 00", "93.184.216.34", "password: hunter22!", "phone", "SSN"),
        *("sk-proj-abcdefghijklmnopqrstuvwx", "://ann:t0ps3cr@", "-----BEGIN PRIVATE KEY-----"),
        *("-----END PRIVATE KEY-----", "eyJhbGciOiJI.eyJzdWIiOiIx.SflKxwRJSMeKKF2Q", "2a02::1"),
        *("[e-mail]", "[phone]", "[secret]", "token=", " is ", "\n", " ", "-", "1", "0", "A", ".."),
        *("(", ")", "/", ":", "@", "x12", "é", "١٢٣", "İ", "00", "+", '"', "%3C", "dot", " at "),
    ]
)
_TEXTS = st.one_of(
    st.text(max_size=200),
    st.text(alphabet="0123456789 +-.()/@:aeks_=[]", max_size=120),
    st.lists(_PIECES, max_size=30).map("".join),
)
_REGIONS = st.sampled_from(["", "DE", "US", "es", "pt-BR"])


@settings(max_examples=400)
@given(_TEXTS, _REGIONS)
def test_redacted_text_contains_no_personal_data(text: str, region: str) -> None:
    redacted = redact(text, region=region)
    redacted_again = redact(redacted.text, region=region)
    assert redacted_again.text is redacted.text
    assert redacted_again.counts == {}
    assert set(redacted.counts) <= set(KINDS)
    assert all(count > 0 for count in redacted.counts.values())
    assert (redacted.text is text) == (not redacted.counts)


@settings(max_examples=400)
@given(_TEXTS, _REGIONS)
def test_spans_are_sorted_and_do_not_overlap(text: str, region: str) -> None:
    spans = find_personal_data(text, region=region)
    assert all(0 <= span.start < span.end <= len(text) for span in spans)
    assert all(span.end <= next_span.start for span, next_span in pairwise(spans))
    assert (redact(text, region=region).text is text) == (not spans)


@given(_TEXTS, st.integers(0, 200))
def test_a_truncated_text_is_clean_after_a_second_redaction(text: str, max_characters: int) -> None:
    """The ledger truncates redacted texts, and the table redacts them again."""
    stored = redact(redact(text).text[:max_characters]).text
    assert find_personal_data(stored) == ()


_ADVERSARIAL = (
    *("a.", "1 ", "1.", ":a", "a@", "@", "sk-", "+1 ", "aaaa-", "password ", "password=a1!", "0"),
    *("01 11 ", "+1 2 3 4 5 6 ", "(0", "-----BEGIN PRIVATE KEY-----", "eyJ", "eyJaaaaaaaa.", "A1"),
    *("://a:", "tel ", "tel 1 2 3 4 5 6 7 ", "4111 ", "DE89 ", "2001:", "A-", " at ", "a dot "),
    *("(at)", "a [at] b.", " arroba ", "a dot b dot ", "MA 02110-1301 ", "12.12-", "0000 0000 "),
    *("a [at] b [dot] ", "_", "sk_live_", ":AA", "SSN 1", "123-45-", "bearer ", "\\n", "٣", "é"),
    "ausweis",
)


@pytest.mark.long
@pytest.mark.parametrize("piece", _ADVERSARIAL)
def test_the_time_grows_at_most_linearly(piece: str) -> None:
    """A pattern that backtracks would take sixteen times as long for four times the text."""

    def measure_cpu_seconds(length: int) -> float:
        text = piece * (length // len(piece))
        start = time.process_time()
        redact(text)
        list(find_stated_personal_data(text))
        return time.process_time() - start

    measure_cpu_seconds(2_000)
    short, long = list[float](), list[float]()
    for _ in range(6):  # The minimum is least affected by other processes.
        short.append(measure_cpu_seconds(10_000))
        long.append(measure_cpu_seconds(40_000))
        if min(long) < 9 * max(min(short), 0.004):
            return
    raise AssertionError((short, long))
