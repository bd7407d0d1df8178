"""What the stand-in answers: markers in the question, its own words by topic, calls of offered tools, titles. Pure.

Called by assistant/server.py. The markers are spelled as the independent fake's, so that one load driver serves both:
    [chunks:N] [size:N]           exactly N deltas of at least `size` characters (5)
    [delay:MS] [ttft:MS]          between two deltas · before the first
    [tool:NAME {json}]            NAME is called first, if it was offered; twice: two calls
    [history]                     the earlier questions are quoted
    [messages:N]                  the answer comes as N message items
    [fault:KIND] [fault:KIND:N]   see assistant/faults.py
    [fault-title:KIND]            a status, or `slow`, for a request that wants a title
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import cycle, islice

import attrs

from ellara.sandbox.assistant.phrases import (
    AFTER_RESULT,
    ANSWERS,
    ASKS_FOR,
    ENGLISH,
    FILLER,
    FOUND,
    INDONESIAN,
    NO_ROWS,
    QUOTED,
    RECALLED,
    ROWS,
    TOPICS,
    UNTITLED,
    Language,
    Topic,
)

Schema = Mapping[str, object]

_NUMBER = re.compile(r"\[(chunks|size|delay|ttft|messages):(\d{1,7})\]")
_FAULT = re.compile(r"\[(fault|fault-title):([a-z0-9-]+)(?::(\d{1,7}))?\]")
_TOOL = re.compile(r"\[tool:([\w-]+)\s*")
_DELTA = re.compile(r"\s*[!-~]{1,8}|\s*\S|\s+")
"""A word, cut after 8 characters; what is not ASCII goes one code point at a time, so emoji and marks are cut too."""

TITLE_WORDS, TITLE_MAX_CHARS, QUOTE_MAX_CHARS, TOLD_ROWS = 6, 60, 300, 5
STEERED_SIZE, STEERED_MAX_CHUNKS, STEERED_MAX_CHARS = 5, 20_000, 2_000_000
"""A marker must not fill the memory of the process that hosts the stand-in."""


@attrs.frozen
class Fault:
    kind: str
    count: int | None = None


@attrs.frozen
class Call:
    """A function call; `arguments` is JSON, unless a fault breaks it."""

    name: str
    arguments: str


@attrs.frozen
class Steering:
    """What the markers of a question ask for. None: left to the stand-in."""

    clean: str
    chunks: int | None = None
    size: int | None = None
    delay: int | None = None
    ttft: int | None = None
    messages: int = 1
    history: bool = False
    tools: tuple[Call, ...] = ()
    fault: Fault | None = None
    title_fault: Fault | None = None


@attrs.frozen
class Asked:
    """The conversation as the stand-in sees it."""

    steering: Steering
    earlier: tuple[str, ...] = ()
    """The questions before, without markers."""
    results: tuple[tuple[str, str], ...] = ()
    """Name and output of each tool called since the question."""

    @property
    def question(self) -> str:
        return self.steering.clean

    @property
    def language(self) -> Language:
        words = set(re.findall(r"[a-z]+", self.question.lower()))
        return "en" if len(words & ENGLISH) > len(words & INDONESIAN) else "id"


def steering(question: str) -> Steering:
    text, tools = _take_tools(question)
    numbers = {name: int(value) for name, value in _NUMBER.findall(text)}
    faults = {where: Fault(kind, int(count) if count else None) for where, kind, count in _FAULT.findall(text)}
    clean = _FAULT.sub("", _NUMBER.sub("", text)).replace("[history]", "")
    return Steering(
        clean=" ".join(clean.split()),
        history="[history]" in text,
        tools=tuple(tools),
        fault=faults.get("fault"),
        title_fault=faults.get("fault-title"),
        **numbers,
    )


def _take_tools(text: str) -> tuple[str, list[Call]]:
    """The text without its tool markers, and the calls; a marker whose JSON is broken stays text."""
    calls, at = [], 0
    while found := _TOOL.search(text, at):
        at = found.end()
        try:
            arguments, end = ({}, at) if text.startswith("]", at) else json.JSONDecoder().raw_decode(text, at)
        except ValueError:
            continue
        if text[end:].lstrip().startswith("]"):
            calls.append(Call(found[1], json.dumps(arguments, ensure_ascii=False)))
            text, at = text[: found.start()] + text[text.index("]", end) + 1 :], found.start()
    return text, calls


def answer(asked: Asked) -> str:
    """The whole text: the question quoted, what the tools said, the earlier questions if asked for, advice."""
    language = asked.language
    text = QUOTED[language].format(_clipped(asked.question))
    for name, output in asked.results:
        text += FOUND[language].format(name=name, told=_told(output, language))
    if asked.steering.history:
        text += RECALLED[language].format(len(asked.earlier), ", ".join(f"“{question}”" for question in asked.earlier))
    if asked.steering.chunks is not None:  # `pieces` fills it up, to the size asked for
        return text
    return text + (AFTER_RESULT[language] if asked.results else ANSWERS[_topic(asked.question)][language])


def pieces(text: str, by: Steering) -> list[str]:
    """The text as deltas: word by word, or in the number and size that the markers ask for, then filled up."""
    if by.chunks is None and by.size is None:
        return _DELTA.findall(text)
    size = max(1, STEERED_SIZE if by.size is None else by.size)
    if by.chunks is None:
        return [text[start : start + size] for start in range(0, len(text), size)]
    count = min(max(1, by.chunks), STEERED_MAX_CHUNKS)
    size = max(min(size, STEERED_MAX_CHARS // count), -(-len(text) // count))
    filled = text + "".join(islice(cycle(FILLER), count * size - len(text)))
    return [filled[start : start + size] for start in range(0, count * size, size)]


def title(question: str, language: Language = "id") -> str:
    """At most six words of the question."""
    words = re.sub(r"[^\w\s%&'-]+", " ", question).split()[:TITLE_WORDS]
    short = " ".join(words)[:TITLE_MAX_CHARS].strip()
    return short[:1].upper() + short[1:] if short else UNTITLED[language]


def wanted_tool(question: str, offered: Sequence[str]) -> str | None:
    """The offered tool that a question asks for by itself, without a marker."""
    asked = set(re.findall(r"[a-z]+", question.lower()))
    for name in offered:
        for word in name.lower().replace("-", "_").split("_"):
            for sign in (word, *ASKS_FOR.get(word, ())):
                if len(sign) > 3 and any(each.startswith(sign) for each in asked):
                    return name
    return None


def arguments(schema: Schema, question: str) -> str:
    """JSON that fits the schema: numbers and choices that the question names, else null where it may be, else the least."""
    return json.dumps(fitting(schema, question, _numbers(question)), ensure_ascii=False)


def fitting(schema: Schema, question: str, numbers: Iterator[int]) -> object:
    """A value of the schema. Knows `type`, `enum`, `const`, `anyOf`, bounds, `properties`, `items`."""
    variants = schema.get("anyOf")
    if isinstance(variants, list) and variants:
        inner: Schema = next((each for each in variants if each.get("type") != "null"), {"type": "null"})
        nullable = any(each.get("type") == "null" for each in variants)
        return _unless_invented(inner, question, numbers) if nullable else fitting(inner, question, numbers)
    kinds = schema.get("type", "object")
    listed = kinds if isinstance(kinds, list) else [kinds]
    plain = {**schema, "type": next((kind for kind in listed if kind != "null"), "null")}
    return _unless_invented(plain, question, numbers) if "null" in listed else _of_kind(plain, question, numbers)


def _unless_invented(schema: Schema, question: str, numbers: Iterator[int]) -> object:
    """None unless the question names the value: what a model should say to an optional argument that nobody asked for."""
    value = _of_kind(schema, question, numbers)
    free_text = schema.get("type") == "string" and not {"enum", "const"} & schema.keys()
    return None if free_text or not _names(value, question) else value


def _of_kind(schema: Schema, question: str, numbers: Iterator[int]) -> object:
    choices = [schema["const"]] if "const" in schema else schema.get("enum")
    if isinstance(choices, list):
        return next((each for each in choices if each is not None and _names(each, question)), choices[0])
    match schema.get("type"):
        case "object":
            properties = schema.get("properties")
            return {
                name: fitting(each, question, numbers)
                for name, each in (properties if isinstance(properties, dict) else {}).items()
            }
        case "integer" | "number":
            least, most = schema.get("minimum", 1), schema.get("maximum", 10**6)
            assert isinstance(least, int | float)
            assert isinstance(most, int | float)
            return next((number for number in numbers if least <= number <= most), least)
        case "string":
            return title(question)
        case "array":
            return []
        case _:
            return False if schema.get("type") == "boolean" else None


def _numbers(question: str) -> Iterator[int]:
    return iter([int(number) for number in re.findall(r"\b\d{1,6}\b", question)])


def _names(value: object, question: str) -> bool:
    """Whether the question says this value; an object or array counts as said."""
    return not isinstance(value, str | int | float) or isinstance(value, bool) or str(value).lower() in question.lower()


def _topic(question: str) -> Topic:
    return next((topic for topic, sign in TOPICS if sign.search(question.lower())), "other")


def _clipped(text: str) -> str:
    return text if len(text) <= QUOTE_MAX_CHARS else text[: QUOTE_MAX_CHARS - 1] + "…"


def _told(output: str, language: Language) -> str:
    """A tool's output for a reader: rows counted and listed, fields named; what is not JSON as it is."""
    try:
        value = json.loads(output)
    except ValueError:
        return output
    return _in_words(value, language)


def _in_words(value: object, language: Language) -> str:
    match value:
        case []:
            return NO_ROWS[language]
        case list():
            lines = "".join(f"\n• {_in_words(row, language)}" for row in value[:TOLD_ROWS])
            return ROWS[language].format(count=len(value)) + lines + ("\n• …" if len(value) > TOLD_ROWS else "")
        case dict():
            return ", ".join(f"{name}: {_in_words(each, language)}" for name, each in value.items())
        case None:
            return "–"
        case bool():
            return json.dumps(value)
        case _:
            return str(value)
