"""The sentences a merchant may read in `bot_error`, by what went wrong and by language. Pure.

Short, and saying what to do next; never a status, a name of ours or a library's text: those are in the log.
"""

from __future__ import annotations

import re
from enum import StrEnum

from ellara.errors import AssistantFailed, Busy, EllaraError, NotFound, Stopping
from ellara.llm.faults import Fault


class Language(StrEnum):
    INDONESIAN = "id"
    ENGLISH = "en"


class Trouble(StrEnum):
    """What stops a question, or the following of a chat, besides OpenAI."""

    MALFORMED = "malformed"
    QUESTION_MISSING = "question_missing"
    QUESTION_TOO_LONG = "question_too_long"
    CHAT_MISSING = "chat_missing"
    TOO_FAST = "too_fast"
    SIGN_IN = "sign_in"
    OTHER_USER = "other_user"
    UNKNOWN_USER = "unknown_user"
    UNKNOWN_CHAT = "unknown_chat"
    CHAT_BUSY = "chat_busy"
    BUSY = "busy"
    STOPPING = "stopping"
    BROKEN = "broken"


_AWAY = (
    "Asisten sedang tidak dapat dihubungi. Silakan coba lagi beberapa saat lagi.",
    "The assistant cannot be reached right now. Please try again in a moment.",
)
_CLOSED = (
    "Asisten sedang tidak tersedia. Tim kami perlu memperbaikinya; silakan coba lagi nanti.",
    "The assistant is not available. Our team has to fix this; please try again later.",
)
_CROWDED = (
    "Asisten sedang sangat sibuk. Silakan coba lagi sebentar lagi.",
    "The assistant is very busy. Please try again in a moment.",
)
_INTERRUPTED = (
    "Jawaban terputus. Silakan kirim pertanyaan Anda sekali lagi.",
    "The answer was interrupted. Please send your question once more.",
)
_DECLINED = (
    "Maaf, pertanyaan ini tidak dapat dijawab. Silakan coba dengan kalimat lain.",
    "Sorry, this question cannot be answered. Please try to put it differently.",
)

PHRASES: dict[Trouble | Fault, tuple[str, str]] = {
    Trouble.MALFORMED: (
        "Pesan tidak dapat dibaca. Muat ulang halaman lalu coba lagi.",
        "The message could not be read. Please reload the page and try again.",
    ),
    Trouble.QUESTION_MISSING: (
        "Pertanyaan dan userId wajib diisi.",
        "A question and a userId are required.",
    ),
    Trouble.QUESTION_TOO_LONG: (
        "Pertanyaan terlalu panjang. Silakan persingkat lalu kirim lagi.",
        "The question is too long. Please shorten it and send it again.",
    ),
    Trouble.CHAT_MISSING: (
        "chatId dan userId wajib diisi.",
        "A chatId and a userId are required.",
    ),
    Trouble.TOO_FAST: (
        "Terlalu banyak pesan dalam waktu singkat. Tunggu sebentar lalu coba lagi.",
        "Too many messages in a short time. Please wait a moment, then try again.",
    ),
    Trouble.SIGN_IN: ("Silakan masuk terlebih dahulu.", "Please sign in first."),
    Trouble.OTHER_USER: (
        "Pesan ini bukan dari akun yang sedang masuk. Silakan masuk kembali.",
        "This message is not from the account that is signed in. Please sign in again.",
    ),
    Trouble.UNKNOWN_USER: (
        "Pengguna tidak ditemukan. Silakan masuk kembali.",
        "User not found. Please sign in again.",
    ),
    Trouble.UNKNOWN_CHAT: (
        "Percakapan tidak ditemukan. Silakan mulai percakapan baru.",
        "Chat not found. Please start a new chat.",
    ),
    Trouble.CHAT_BUSY: (
        "Masih ada beberapa pertanyaan yang menunggu jawaban di percakapan ini. Tunggu sebentar lalu kirim lagi.",
        "Several questions in this chat are still waiting for their answers. Please wait a moment, then send it again.",
    ),
    Trouble.BUSY: (
        "Layanan sedang sangat sibuk. Silakan coba lagi sebentar lagi.",
        "The service is very busy. Please try again in a moment.",
    ),
    Trouble.STOPPING: (
        "Layanan sedang dimulai ulang. Silakan kirim pertanyaan Anda lagi sebentar lagi.",
        "The service is restarting. Please send your question again in a moment.",
    ),
    Trouble.BROKEN: (
        "Terjadi kesalahan di sistem kami. Silakan coba lagi.",
        "Something went wrong on our side. Please try again.",
    ),
    Fault.REFUSED_KEY: _CLOSED,
    Fault.NO_QUOTA: _CLOSED,
    Fault.MODEL_GONE: _CLOSED,
    Fault.REFUSED_REQUEST: _CLOSED,
    Fault.RATE_LIMITED: _CROWDED,
    Fault.OVERLOADED: _CROWDED,
    Fault.UNREACHABLE: _AWAY,
    Fault.FAILED: _AWAY,
    Fault.EMPTY: _AWAY,
    Fault.BAD_EVENT: _AWAY,
    Fault.TIMED_OUT: (
        "Asisten terlalu lama menjawab. Silakan coba lagi.",
        "The assistant took too long to answer. Please try again.",
    ),
    Fault.STALLED: _INTERRUPTED,
    Fault.CUT_OFF: _INTERRUPTED,
    Fault.TOO_LONG: (
        "Pertanyaan ini terlalu panjang untuk dijawab. Silakan persingkat atau mulai percakapan baru.",
        "This is too long to be answered. Please shorten it or start a new chat.",
    ),
    Fault.INCOMPLETE_LENGTH: (
        "Jawaban terpotong karena terlalu panjang. Ketik “lanjutkan” untuk meneruskannya.",
        "The answer was cut because it is too long. Write “continue” to go on.",
    ),
    Fault.REFUSAL: _DECLINED,
    Fault.INCOMPLETE_FILTER: _DECLINED,
    Fault.TOOL_LOOP: (
        "Asisten tidak berhasil menemukan jawabannya. Silakan coba dengan pertanyaan yang lebih spesifik.",
        "The assistant could not work this out. Please try a more specific question.",
    ),
}


def phrase(trouble: Trouble | Fault, language: Language) -> str:
    indonesian, english = PHRASES[trouble]
    return english if language is Language.ENGLISH else indonesian


def trouble_of(error: EllaraError) -> Trouble | Fault:
    """What an error of ours means to the asker of a question."""
    match error:
        case AssistantFailed():
            return Fault(error.kind)
        case NotFound():
            return Trouble.UNKNOWN_CHAT
        case Stopping():
            return Trouble.STOPPING
        case Busy():
            return Trouble.BUSY
        case _:
            return Trouble.BROKEN


_WORD = re.compile(r"[a-z]+")
_ENGLISH = frozenset(
    _WORD.findall(
        "a an and are at be can could do does for from get give have hello help how i in is it know me much my need of on or our "
        "please should tell thanks that the there this to want was we what when where which who why will with would you your"
    )
)
_INDONESIAN = frozenset(
    _WORD.findall(
        "ada adalah agar aku anda apa apakah atau bagaimana bagi bantu banyak berapa bisa bu buat cara dalam dan dapat dari "
        "dengan di gimana halo harga ini itu jika jualan juga kak kalau kami kapan karena ke kenapa mana mau mengapa modal mohon "
        "pada pak saya sudah tentang tidak toko tolong untuk usaha yang"
    )
)
LANGUAGE_READ_MAX_CHARS = 500


def language_of(*texts: str) -> Language:
    """Whose commonest words outnumber the other's in the first text that tells; Bahasa Indonesia when none does."""
    for text in texts:
        words = _WORD.findall(text[:LANGUAGE_READ_MAX_CHARS].lower())
        more_english = sum(word in _ENGLISH for word in words) - sum(word in _INDONESIAN for word in words)
        if more_english:
            return Language.ENGLISH if more_english > 0 else Language.INDONESIAN
    return Language.INDONESIAN
