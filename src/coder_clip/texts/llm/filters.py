"""Checks of a model's texts before they are accepted. None of them knows whether a text is true."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

MAX_CHARACTERS, MAX_NAME_CHARACTERS = 200, 60  # of a text and of a name; longer ones are prose
JOINERS = "\u200c\u200d"  # part of the spelling in Persian and Indic scripts
REFUSALS = (  # and apologies, by language
    r"\bi(?:'| a)?m (?:really |very |so )?(?:sorry|unable|afraid|not able)\b|\b(?:i apologi[sz]e|my apologies)\b",
    r"\bas an? (?:ai|large|language)\b|\bi (?:can(?:'|no)?t|cannot|won(?:'|no)?t|must decline|do not|don't)\b",
    r"\b(?:cannot|can't|unable to) (?:help|assist|provide|comply|fulfil)",
    r"\b(?:es tut mir leid|entschuldig\w+|leider kann ich|ich kann (?:das|dir|ihnen|dazu|keine|nicht)|als ki)\b",
    r"\b(?:désolée?|je m'excuse|je ne (?:peux|suis) pas|en tant qu'ia)\b",
    r"\b(?:lo siento|disculp\w+|no puedo|como (?:ia|modelo de))\b",
    r"\b(?:mi dispiace|mi scuso|non posso)\b|\b(?:het spijt me|ik kan (?:niet|geen))\b",
    r"\b(?:desculpe|sinto muito|não posso|lamento)\b",
    r"\b(?:przepraszam|przykro mi|nie mogę)\b|\b(?:üzgünüm|özür dilerim|yardımcı olamam)\b",
    r"\b(?:jag kan inte|tyvärr)\b|\b(?:извините|простите|к сожалению|я не могу|вибачте|на жаль)\b",
    r"抱歉|对不起|對不起|我无法|我不能|無法提供|无法提供|申し訳|すみません|ごめんなさい|できません",
    r"죄송|미안|할 수 없|آسف|لا أستطيع|عذرًا|क्षमा|माफ़",
)
REFUSAL = re.compile("|".join(REFUSALS), flags=re.I)
QUESTION = re.compile(
    r"[?？؟]\s*$|\b(?:could|can|would) you (?:please )?(?:clarify|specify|provide|tell)"
    r"|\bplease (?:clarify|specify|provide)",
    flags=re.I,
)
NOTHING = re.compile(  # as a whole text, plain
    r"none|n ?a|nil|null|nothing|empty|unknown|not applicable|no (?:synonym|feature)s?|keine|aucune?|ningun[oa]|nessuno"
    r"|nenhum|нет|无|無|なし|없음|strings?|texts?|array|object|(?:at most )?\d+ strings|(?:feature|text|item) \d+"
    r"|(?:first|second|third|another|a third) (?:feature|name)"
)
NO_ANSWER = ("a refusal", "a question")
_QUOTES = "\"'“”„‟‘’‚«»‹›「」『』《》`´"
_HAS = re.compile(r"^(?:(?:which|that|it|they)\s+)*(?:usually |often |typically )?(?:has|have)\s+", re.I)


def clean(text: str) -> str:
    """Normalize a text: NFC, single spaces, no quotes around it, no full stop, no "has", which the sentence has."""
    text = " ".join(unicodedata.normalize("NFC", text).replace("_", " ").split())
    while text and (bare := text.strip().strip(_QUOTES).rstrip(".;,。；，")) != text:
        text = bare
    return _HAS.sub("", text, count=1)


def plain(text: str) -> str:
    """Reduce a text for comparison: no case, punctuation or leading article."""
    words = re.sub(r"[\W_]+", " ", text.replace("'", "").casefold()).split()
    return " ".join(words[1:] if len(words) > 1 and words[0] in ("a", "an", "the") else words)


def refuses(text: str) -> bool:
    """True if a text is a refusal or an apology, in one of the common languages."""
    return REFUSAL.search(text.replace("’", "'")[:400]) is not None


def control(text: str) -> str:
    """Characters that are not text: control, format and direction marks, private, unassigned, lone surrogates."""
    return "".join(
        c for c in text if c not in JOINERS and unicodedata.category(c) in ("Cc", "Cf", "Cs", "Co", "Cn")
    )


def scripts(text: str) -> set[str]:
    """Writing systems of the letters of a text, by Unicode's names: LATIN, CYRILLIC, CJK, …"""
    letters = (c for c in text if unicodedata.category(c) in ("Lu", "Ll", "Lo"))
    return {unicodedata.name(c, "unknown").split()[0] for c in letters} - {"MICRO", "FEMININE", "MASCULINE"}


def fault(
    text: str, *, names: Iterable[str], within: Iterable[str], known: set[str], longest: int = MAX_CHARACTERS
) -> str | None:
    """Why a clean text is not accepted; None if it is.

    names: plain names that it must not be. within: plain names that must not be part of it. known: scripts of the
    class name.
    """
    bare = plain(text)
    if control(text):
        return "control characters"
    if not bare:
        return "no letters"
    if len(text) > longest:
        return f"longer than {longest} characters"
    if refuses(text):
        return "a refusal"
    if QUESTION.search(text):
        return "a question"
    if NOTHING.fullmatch(bare):
        return "says nothing"
    if any(bare in (name, f"{name}s") for name in names):
        return "the name of a class"
    if name := next((name for name in within if f" {name} " in f" {bare} "), None):
        return f"names the class {name}"
    if foreign := scripts(text) - known - {"LATIN"}:
        return f"in another script ({', '.join(sorted(foreign)).lower()})"
    return None
