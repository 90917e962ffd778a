"""Test that encodings other than UTF-8 are recognized by their letters and converted."""

from __future__ import annotations

import pytest

from twin_assets.corpus.importers.posts import read_post
from twin_assets.corpus.importers.text_encoding import UnknownEncodingError, decode_text

SENTENCES = {
    "de": "Ein schöner Tag: die Mühle steht still, und über dem Fluß hängt Nebel. Ich höre Vögel.",
    "fr": "L’été dernier, j’ai réparé une pendule à Nîmes ; elle s’arrêtait à chaque fois.",
    "en": "The clock’s hands were “frozen” — nobody had wound it since the café closed.",
    "es": "El año pasado arreglé el reloj de mi niñez; ¿quién diría que aún sonaba?",
    "sv": "Förra vintern lagade jag klockan som stod i kyrkan; den gick dåligt.",
    "pl": "Zeszłej zimy naprawiłem zegar, który stał w kościele w Łodzi; chodził źle.",
    "cs": "Loni v zimě jsem opravil hodiny, které stály v kostele; šly špatně.",
    "tr": "Geçen kış kilisede duran bir saati onardım; iyi çalışmıyordu, ışığı da yoktu.",
    "ru": "Прошлой зимой я починил часы, которые стояли в церкви; они шли плохо.",
    "el": "Τον περασμένο χειμώνα επισκεύασα ένα ρολόι που βρισκόταν στην εκκλησία.",
    "he": "בחורף שעבר תיקנתי שעון שעמד בכנסייה; הוא לא הלך טוב כי מישהו איבד את המחוג.",
    "ja": "去年の冬、私は教会にあった時計を修理しました。誰かが針をなくしたのです。",
    "zh": "去年冬天，我修好了教堂里的一座钟。它走得不好，因为有人弄丢了指针。",
    "zh-tw": "去年冬天,我修好了教堂裡的一座鐘。它走得不好,因為有人弄丟了指針。",
    "ko": "지난 겨울 나는 교회에 있던 시계를 고쳤다. 누군가 바늘을 잃어버렸다.",
}
ENCODED = [
    ("de", "cp1252", "windows-1252"), ("fr", "cp1252", "windows-1252"),
    ("en", "cp1252", "windows-1252"),
    ("es", "latin-1", "windows-1252"), ("sv", "latin-1", "windows-1252"),
    ("pl", "cp1250", "windows-1250"),
    ("cs", "cp1250", "windows-1250"), ("tr", "cp1254", "windows-1254"),
    ("ru", "cp1251", "windows-1251"), ("ru", "koi8_r", "koi8-r"), ("ru", "cp866", "cp866"),
    ("el", "cp1253", "windows-1253"), ("he", "cp1255", "windows-1255"),
    ("ja", "shift_jis", "shift_jis"), ("ja", "euc_jp", "euc-jp"),
    ("ja", "iso2022_jp", "iso2022_jp"), ("zh", "gb18030", "gb18030"), ("zh-tw", "big5", "big5"),
    ("ko", "euc_kr", "euc-kr"), ("de", "utf-16", "utf-16"), ("ja", "utf-32", "utf-32"),
    ("de", "utf-16-le", "utf-16"), ("en", "utf-16-be", "utf-16"),
]  # fmt: skip


@pytest.mark.parametrize(("language", "encoding", "name"), ENCODED)
@pytest.mark.parametrize("repetitions", [1, 8])
def test_posts_in_old_encodings_are_decoded(
    language: str, encoding: str, name: str, repetitions: int
) -> None:
    text = f"# Title\n\n{SENTENCES[language] * repetitions}\n"
    assert decode_text(text.encode(encoding)) == (text, name)


@pytest.mark.parametrize(
    ("language", "encoding"), [("de", "mac_roman"), ("de", "cp850"), ("pl", "iso8859_2")]
)
def test_a_text_that_would_be_misread_is_refused(language: str, encoding: str) -> None:
    with pytest.raises(UnknownEncodingError):
        decode_text(SENTENCES[language].encode(encoding))


@pytest.mark.parametrize("language", SENTENCES)
def test_utf_8_is_not_converted_or_counted(language: str) -> None:
    text = SENTENCES[language]
    for body in (text.encode(), text.encode("utf-8-sig")):
        assert decode_text(body) == (text, "utf-8")
        assert read_post(body, source_id="a.md").encoding == ""
    assert read_post(text.encode("utf-16"), source_id="a.md").encoding == "utf-16"


def test_a_declared_encoding_overrides_a_guess_but_not_the_bytes() -> None:
    page = '<html><head><meta charset="{}"></head><body><p>{}</p></body></html>'
    russian = page.format("windows-1251", "мир")
    assert decode_text(russian.encode("cp1251"), is_page=True) == (russian, "windows-1251")
    latin = page.format("iso-8859-1", "“café”")  # as browsers do
    assert decode_text(latin.encode("cp1252"), is_page=True) == (latin, "windows-1252")
    utf_8_page = page.format("iso-8859-1", "café")
    assert decode_text(utf_8_page.encode(), is_page=True) == (utf_8_page, "utf-8")
    french = page.format("no-such-charset", SENTENCES["fr"])
    assert decode_text(french.encode("cp1252"), is_page=True) == (french, "windows-1252")


def test_foreign_bytes_within_utf_8_are_converted() -> None:
    body = SENTENCES["de"].encode() + " Das Café.".encode("latin-1")
    text, name = decode_text(body)
    assert text == SENTENCES["de"] + " Das Café."
    assert name == "utf-8 with windows-1252"


@pytest.mark.parametrize(
    "body",
    [
        bytes(range(256)) * 4,
        b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR",
        b"\xff\xfe\x00",
        b"\x81\x8d\x8f\x90\x9d" * 9,
        b"text\0text",
    ],
)
def test_binary_content_is_not_decoded(body: bytes) -> None:
    with pytest.raises(UnknownEncodingError):
        decode_text(body)
