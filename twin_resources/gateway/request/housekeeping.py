"""Answer the requests that chat programs send for themselves: titles, tags, follow-ups, queries.

Scope: recognizing such a request, and the answer to it. Out of scope: readers' messages
(`front_desk/`), an answer in a client's schema (`stages/fixed_text.py`).

Open WebUI sends three such requests along with a reader's first question, to the model that the
reader has chosen. No reader sees the answers directly, so the gateway searches no posts and calls
no model. The requests are recognized by wording that the default templates of a dozen programs
share, in the languages of these programs. A client with a different template can name the model
`twin/<author>@task`, send the header `x-twin-task`, or name a version (`@base`, `@paid`).
"""
# pyright: strict

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from twin_resources.gateway.request.request_body import ChatRequest

HOUSEKEEPING = "housekeeping"
MAX_TITLE_WORDS = 6
# Maximum number of questions in a summary, and of characters in each.
MAX_SUMMARY_QUESTIONS, SUMMARY_QUESTION_CHARACTERS = 10, 200
INSTRUCTION_CHARACTERS = 2000  # an instruction is at the beginning of a message
ROLE_CHARACTERS = 300  # a title instruction opens a system message; a persona may contain one later
LIMIT_CHARACTERS = 400  # maximum distance between a naming instruction and its limit
DEFAULT_TITLE = "Conversation"  # used if the request contains no reader's text

_HISTORY = re.compile(r"<chat_history>(.*?)</chat_history>", re.DOTALL | re.IGNORECASE)
_DOCUMENT = re.compile(r"<context>.*?(?:</context>|\Z)", re.DOTALL | re.IGNORECASE)
_RESULT_KEY = re.compile(r"[{]\s*\"(title|tags|follow_ups|queries|text|prompt|emoji)\"\s*:")
_EMPTY_VALUES = {
    "tags": ["General"],
    "follow_ups": [],
    "queries": [],
    "text": "",
    "prompt": "",
    "emoji": "",
}
# The heading may be in any language if the tag of the default template follows.
_TASK_HEADING = re.compile(
    r"\s*#{2,3} (?:Task:|[^\n]{1,40}?[:：]\s(?=.*<chat_history>))", re.DOTALL | re.IGNORECASE
)
_TOOL_CHOICE = re.compile(r"\s*Available tools:.{0,40000}\"tool_calls\"", re.DOTALL | re.IGNORECASE)
# An instruction refers to this conversation and limits the output. A reader may ask for a title
# too, but not for "only the title" of "the conversation".
_THIS_CONVERSATION = (
    r"(?:the|this|our|your) (?:[\w'’]+ ){0,3}?(?:conversation|chat|thread|discussion|dialogue?)s?\b"
)
_WHOLE_CONVERSATION = rf"{_THIS_CONVERSATION}(?! (?:between|about|partner))"
_TITLE_INSTRUCTION = re.compile(
    rf"\btitle\b[^.\n]{{0,80}}(?:{_WHOLE_CONVERSATION}|first message|user'?s message)"
    r"|summari[sz]e.{0,40}\b(?:conversation|chat|discussion|messages?)\b.{0,40}"
    r"\b(?:in|into|as|by|with) an? (?:[\w-]+ ){0,3}title\b"
    r"|summari[sz]e in a \d+-word title"
    rf"|{_WHOLE_CONVERSATION}.{{0,40}}\b(?:in|into|as|by|with) an? (?:[\w-]+ ){{0,3}}title\b"
    rf"|\bname {_WHOLE_CONVERSATION}"
    r"|\b(?:conversation|chat|thread) title\b|\btitle generator\b",
    re.DOTALL | re.IGNORECASE,
)
_TITLE_ONLY = re.compile(
    r"\b(?:only|just|nothing but)\b[^.\n]{0,40}\b(?:title|name)\b"
    r"|\b(?:title|name) only\b|\bnothing else\b|\bno other text\b"
    r"|\b(?:without|omit(?:ting)?|no|(?:do not|don't) use)\b[^.\n]{0,40}"
    r"\b(?:quotes?|quotation marks?|punctuation|colons?|preamble|lead-in|explanations?)\b"
    r"|\bas JSON\b|[{]\s*\"title\"",
    re.IGNORECASE,
)
_SUMMARY_INSTRUCTION = re.compile(
    r"summari[sz]e (?:the|this|our) (?:conversation|chat|discussion)\b.{0,120}"
    r"\b(?:prompt|context|memory|tokens)\b",
    re.DOTALL | re.IGNORECASE,
)
# The same instructions in other languages, recognized by common words of the translated templates:
# Arabic, Chinese, Czech, Danish, Dutch, French, German, Indonesian, Italian, Japanese, Korean,
# Norwegian, Polish, Portuguese, Russian, Slovak, Spanish, Turkish, Vietnamese.
_TITLE_WORD = re.compile(
    r"标题|標題|主题|主題|タイトル|テーマ|제목|주제|عنوان|موضوع|ملخص|заголов|назван|\bтем[ауы]\b"
    r"|\b(?:titel|thema|überschrift|titre|sujet|título|titolo|tema|temaet|názov|název|titul|téma"
    r"|overskrift|tittel|judul|topik|tytuł|temat|onderwerp|tiêu đề|chủ đề)\b|başlı[kğ]",
    re.IGNORECASE,
)
_CONVERSATION_WORD = re.compile(
    r"会话|會話|对话|對話|聊天|会話|対話|チャット|대화|채팅|محادثة|دردشة|бесед|разговор|диалог|\bчат"
    r"|gespräch|unterhaltung|konversation|\bchat|conversa|discussion|discusión|discussão|charla"
    r"|bate-papo|conversazione|sohbet|konuşma|konver[sz]ác|konverzac|diskusi|samtale|percakapan"
    r"|obrolan|rozmow|gesprek|trò chuyện|这句话|這句話|この文|이 문장|cette phrase|esta frase"
    r"|questa frase|сообщени|bu cümle|هذه الجملة|câu này|této věty|kalimat ini",
    re.IGNORECASE,
)
_LENGTH_LIMIT = re.compile(
    r"(?:\d|[四五十]|네|다섯|fünf|cinq|cinco|cinque|пяти|beş|خمس|năm|pět|päť|lima|fem\b|vijf|pięci)"
    r"[\s个個]*(?:\w+ )?"
    r"(?:字|文字|語|단어|글자|자\b|wört|zeichen|mots|mot\b|caract|palabra|parole|palavr|слов|симв"
    r"|kelime|كلمات|từ\b|slov|ord\b|tegn|kata\b|słów|woord)",
    re.IGNORECASE,
)
_PUNCTUATION_WORD = re.compile(
    r"标点|標點|句読点|문장 부호|구두점|ترقيم|знак\w* препинания|пунктуац|satzzeichen|ponctuation"
    r"|puntuación|punteggiatura|pontuação|noktalama|dấu câu|interpunk|tegns[eæ]|tanda baca"
    r"|leesteken|引号|引號|引用符|따옴표|anführungszeichen|guillemet|comillas|virgolette|aspas|кавыч|úvodzov",
    re.IGNORECASE,
)
_SUMMARY_WORD = re.compile(
    r"总结|總結|要約|요약|ت?لخ[يّ]?ص|итог|резюм|суммир|\bfass\w*|résum|\bresum|riassu|özet|tóm tắt"
    r"|shrň|zhrň|zhŕň|resumé|oppsummer|opsummer|ringkas|streszcz|podsumuj|vat\b.{0,60}samen",
    re.IGNORECASE,
)
_CONTEXT_WORD = re.compile(
    r"prompt|上下文|コンテキスト|컨텍스트|سياق|контекст|\bkonte[xk]|contexte|contexto|contesto|bağlam"
    r"|ngữ cảnh|senere brug|výzv",
    re.IGNORECASE,
)
_FIRST_USER_MESSAGE = re.compile(
    r"\"role\"\s*:\s*\"user\",?\s*\"(?:content|mainText)\"\s*:\s*\"((?:[^\"\\]|\\.)*)"
    r"|(?:^|\n|\. )\s*(?:user|human|here is the message)\s*:\s*(.+?)"
    r"(?=\n\s*(?:assistant|ai|user|human)\s*:|$)",
    re.DOTALL | re.IGNORECASE,
)


@dataclass(frozen=True)
class ProgramAnswer:
    """The answer to a program's own request.

    Attributes:
        key, value: key of the program's JSON, and its value.
        text: the answer in the requested form, JSON or plain text.
    """

    key: str
    value: str | list[str]
    text: str

    @property
    def document(self) -> str:
        """The answer as a JSON object."""
        return json.dumps({self.key: self.value}, ensure_ascii=False)


def housekeeping_answer(chat_request: ChatRequest) -> ProgramAnswer | None:
    """Return the answer to a program's own request, in the requested form.

    Returns:
        JSON, a title or a summary, or None if a reader sent the request.
    """
    if chat_request.has_named_version:
        return None  # a client that names a version wants it to answer
    question = chat_request.question
    if chat_request.is_task or _TASK_HEADING.match(question):
        prompt = f"{chat_request.system}\n{question}" if chat_request.is_task else question
        key = _RESULT_KEY.search(_DOCUMENT.sub("", prompt))  # a reader's document may contain JSON
        if key is not None:
            name = key[1]
            return _json_answer(
                name, _build_title(chat_request) if name == "title" else _EMPTY_VALUES[name]
            )
        if not chat_request.is_task:
            return None
    if _TOOL_CHOICE.match(chat_request.system):
        return _json_answer("tool_calls", [])
    instruction = question[:INSTRUCTION_CHARACTERS]
    if _SUMMARY_INSTRUCTION.search(instruction) or _is_translated_summary_instruction(instruction):
        summary = "The reader asked: " + " ".join(
            _reader_questions(chat_request)[-MAX_SUMMARY_QUESTIONS:]
        )
        return ProgramAnswer("summary", summary, summary)
    if chat_request.is_task or _is_title_request(chat_request):
        title = _build_title(chat_request)
        if _RESULT_KEY.search(f"{chat_request.system}\n{instruction}"):
            return _json_answer("title", title)
        return ProgramAnswer("title", title, title)
    return None


def _is_title_request(chat_request: ChatRequest) -> bool:
    system = chat_request.system[:INSTRUCTION_CHARACTERS]
    question = chat_request.question
    instruction = question[:INSTRUCTION_CHARACTERS]
    tail = question[INSTRUCTION_CHARACTERS:][-LIMIT_CHARACTERS:]  # after a long conversation
    for text, max_start in (
        (system, ROLE_CHARACTERS),
        (instruction, len(instruction)),
        (tail, len(tail)),
    ):
        instruction_match = _TITLE_INSTRUCTION.search(text)
        if instruction_match is not None and instruction_match.start() <= max_start:
            context = _surrounding_text(text, instruction_match)
            if chat_request.response_format is not None or _TITLE_ONLY.search(context):
                return True
        word_match = _TITLE_WORD.search(text)
        if word_match is not None and word_match.start() <= max_start:
            context = _surrounding_text(text, word_match)  # for programs that forbid punctuation
            if _PUNCTUATION_WORD.search(context) and (
                _CONVERSATION_WORD.search(context) or _LENGTH_LIMIT.search(context)
            ):
                return True
    return False


def _surrounding_text(text: str, match: re.Match[str]) -> str:
    return text[max(0, match.start() - LIMIT_CHARACTERS) : match.end() + LIMIT_CHARACTERS]


def _is_translated_summary_instruction(text: str) -> bool:
    match = _SUMMARY_WORD.search(text)
    patterns = (_CONVERSATION_WORD, _CONTEXT_WORD)
    return match is not None and all(
        pattern.search(_surrounding_text(text, match)) for pattern in patterns
    )


def _json_answer(key: str, value: str | list[str]) -> ProgramAnswer:
    return ProgramAnswer(key, value, json.dumps({key: value}, ensure_ascii=False))


def _reader_questions(chat_request: ChatRequest) -> list[str]:
    """Return the reader's questions, each cut to `SUMMARY_QUESTION_CHARACTERS`."""
    turns = [turn["content"] for turn in chat_request.history if turn["role"] == "user"]
    return [turn[:SUMMARY_QUESTION_CHARACTERS] for turn in turns]


def _build_title(chat_request: ChatRequest) -> str:
    """Return the first words that the reader wrote."""
    earlier_turns = [turn["content"] for turn in chat_request.history if turn["role"] == "user"]
    history = _HISTORY.search(chat_request.question)
    text = history[1] if history else chat_request.question
    message = _FIRST_USER_MESSAGE.search(text)
    first_message = (
        earlier_turns[0] if earlier_turns else (message[1] or message[2]) if message else ""
    )
    if not first_message and chat_request.system and not history:
        first_message = chat_request.question  # the instruction is the system message
    words = first_message.split()
    title = " ".join(words[:MAX_TITLE_WORDS]).strip("\"'“”.,;:!?… ")
    return title or DEFAULT_TITLE
