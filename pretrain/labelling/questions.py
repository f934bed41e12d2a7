"""Questions about radiology reports made from their own sentences: they teach a reader where nobody has written any.

A report goes sentence by sentence through `RULES`, each of which finds a thing and what is said of it, and asks for it in one
of several wordings. What one report is asked about, and another one does not mention, makes the unanswerable ones. Rules
know no medicine and are wrong now and then; how good a reader gets is measured on questions that people wrote.
"""

import hashlib
import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from pretrain.labelling.question_rules import RULES
from pretrain.tasks.base import Question
from pretrain.text import Span, sentences

UNANSWERABLE_SHARE = 1 / 3
"""Of the questions about a report. RadQA's own share is not published; it has them because questions are asked before reading."""
MOST_CHARACTERS = 3000
"""Of a report: longer ones are consultations and court reports, whose sentences these rules do not fit."""


@dataclass(frozen=True)
class Report:
    """A radiology report to ask about."""

    report_id: str
    text: str = field(repr=False)
    group: str
    """Whose it is, as `Question.group`."""


def make_questions(reports: Sequence[Report], per_report: int = 9, seed: int = 0) -> list[Question]:
    """Questions with answers by rule, and without from what other reports speak of; the same seed gives the same ones.

    Args:
        reports: de-identified, none of those that a reader is measured on.
        per_report: at most so many of each, of which `UNANSWERABLE_SHARE` have no answer.
        seed: of what is asked and how.
    """
    used = [report for report in reports if len(report.text) <= MOST_CHARACTERS]
    asked = [list(_asked(report, _keyed(seed, report.report_id))) for report in used]
    pool = sorted({(item.wording, item.thing) for items in asked for item in items if item.thing and not item.is_about_report})
    silent = round(per_report * UNANSWERABLE_SHARE)
    made = []
    for report, items in zip(used, asked, strict=True):
        draw = _keyed(seed + 1, report.report_id)
        kept = _various(items, per_report - silent, draw)
        pairs: list[tuple[str, tuple[Span, ...]]] = [(item.question, (item.answer,)) for item in kept]
        if kept:
            pairs += [(question, ()) for question in _unanswerable(report.text, pool, silent, draw)]
        made += [
            Question(f"{report.report_id}_{n}", question, report.text, answers, report.group)
            for n, (question, answers) in enumerate(pairs)
        ]
    return made


@dataclass(frozen=True)
class _Asked:
    question: str
    answer: Span
    kind: str
    wording: str
    """With "{x}" for the thing."""
    thing: str
    is_about_report: bool


def _words(table: str) -> frozenset[str]:
    return frozenset(table.split())


_COMPILED = tuple((kind, re.compile(pattern), wordings) for kind, pattern, wordings in RULES)
_ABOUT_REPORT = {"impression", "indication", "exam", "advice", "advice given", "agent", "had", "time", "reason"}
_LEAD = re.compile(r"(?:[A-Z][A-Z ,/&()-]{2,40}:\s*)?(?:\(?\d{1,2}[.)]\s*)?")
_END_OF_DENIAL = re.compile(r"[.;]\s|[.;]$|, (?:with|but|however|although)\b|\bbut\b|,? (?:which|although)\b")
_END_OF_CLAUSE = re.compile(r"; |, (?:but|which|with|however|although|consistent|compatible)\b")
_NEVER = _words("""patient it there this that he she these those which who exam study image images view views other evidence
    findings finding i we they none also significant level seen noted time no not
    ml cc mg mci cm mm mcg he his her my our one two three four both several some all any each multiple rest part area areas
    total use used due small otherwise""")

# As whoever asks may say it otherwise than the report does. Only questions are changed, so every answer stays as it stands.
_OTHERWISE = {
    "hemorrhage": ("bleeding", "bleed"), "infarction": ("stroke", "infarct"), "infarct": ("stroke",), "renal": ("kidney",),
    "pulmonary": ("lung",), "cardiac": ("heart",), "hepatic": ("liver",), "thrombus": ("clot",), "thrombi": ("clot",),
    "thrombosis": ("clot",), "calculi": ("stones",), "calculus": ("stone",), "stones": ("calculi",), "edema": ("swelling",),
    "fractures": ("fracture", "broken bone"), "fracture": ("break", "broken bone"), "cardiomegaly": ("enlarged heart",),
    "mass": ("tumor", "lesion"), "masses": ("tumor", "lesion", "mass"), "lesion": ("mass",), "lesions": ("mass", "lesion"),
    "metastases": ("metastatic disease", "spread of cancer"), "lymphadenopathy": ("enlarged lymph nodes",),
    "stenosis": ("narrowing",), "narrowing": ("stenosis",), "osseous": ("bone", "bony"), "bony": ("bone",), "cranial": ("skull",),
    "intracranial": ("brain",), "effusion": ("fluid",), "effusions": ("effusion", "fluid"), "myocardial": ("heart muscle",),
    "cerebral": ("brain",), "abnormalities": ("abnormality",), "ejection fraction": ("EF", "LVEF"), "ef": ("ejection fraction",),
    "regurgitation": ("insufficiency", "leak"), "insufficiency": ("regurgitation",), "enlarged": ("big",), "nodules": ("nodule",),
    "dilatation": ("enlargement",), "dilated": ("enlarged",), "gallstones": ("cholelithiasis", "stones in the gallbladder"),
    "ascites": ("fluid in the abdomen",), "pneumothorax": ("collapsed lung",),
    "malignancy": ("cancer",), "carcinoma": ("cancer",),
    "fetus": ("baby",), "fetal": ("baby's",), "hypertrophy": ("thickening",), "calcifications": ("calcification",),
    "atrophy": ("volume loss",), "opacity": ("shadow",), "consolidation": ("pneumonia",), "infiltrate": ("pneumonia",),
    "aneurysm": ("dilatation",), "vegetation": ("endocarditis",), "obstruction": ("blockage",), "lv": ("left ventricle",),
    "left ventricular": ("LV",), "right ventricular": ("RV",), "spleen": ("splenic size",), "small": ("little",),
}  # fmt: skip
_OTHERWISE_WORDS = re.compile(rf"\b(?:{'|'.join(sorted(_OTHERWISE, key=len, reverse=True))})\b", re.IGNORECASE)


def _asked(report: Report, draw: random.Random) -> Iterator[_Asked]:
    """Everything that the rules can ask about a report, sentence by sentence."""
    for sentence in sentences(report.text):
        whole = report.text[sentence.start : sentence.end]
        lead = match.end() if (match := _LEAD.match(whole)) else 0
        for kind, pattern, wordings in _COMPILED:
            offset = 0 if kind in ("impression", "indication", "exam") else lead
            found = pattern.search(whole[offset:])
            thing = "" if found is None else _thing(found)
            if found is None or (not thing and kind not in _ABOUT_REPORT):
                continue
            answer = _answer(report.text, sentence.start + offset, sentence.end, found, kind)
            if answer is None:
                continue
            wording = draw.choice(wordings if thing else [one for one in wordings if "{x}" not in one] or wordings)
            if not thing and "{x}" in wording:
                continue
            question = wording.replace("{x}", _said_otherwise(thing, draw))
            yield _Asked(question, answer, kind, wording, thing, kind in _ABOUT_REPORT)


def _thing(found: re.Match[str]) -> str:
    """What is asked about, in small letters but for abbreviations; "" where it is nothing to ask about."""
    words = re.sub(r"\s+", " ", found["x"]).split(" ") if "x" in found.re.groupindex else []
    if not words or len(words) > 7 or {words[0].lower(), words[-1].lower()} & _NEVER:
        return ""
    if len(words[-1]) < 2 or re.search(r"\d|(?:ed|ly)$", words[-1]):
        return ""
    return " ".join(word if len(word) <= 4 and word.isupper() else word.lower() for word in words)


def _answer(text: str, start: int, end: int, found: re.Match[str], kind: str) -> Span | None:
    """The stretch that answers, trimmed; None where it is too long to be an answer."""
    if "a" in found.re.groupindex:
        first, last = start + found.start("a"), start + found.end("a")
    elif kind.startswith("denied"):
        # The clause that denies it: from "no" or what opens it, to where the sentence goes on with something else.
        first = start + (0 if found.start() < 14 else found.start())
        stop = _END_OF_DENIAL.search(text, start + found.end(), end)
        last = stop.start() if stop else end
    else:
        first, last = start, end
        stop = _END_OF_CLAUSE.search(text, start + found.end(), end)
        last = stop.start() if stop else end
    while last > first and (text[last - 1].isspace() or text[last - 1] in ".,;:"):
        last -= 1
    while first < last and text[first].isspace():
        first += 1
    return Span(first, last) if 0 < last - first <= 160 and "\n\n" not in text[first:last] else None


def _said_otherwise(thing: str, draw: random.Random) -> str:
    """In fewer words than the report's, or in others, as whoever asks has not read it."""
    words = thing.split(" ")
    if len(words) > 2 and " of " not in thing and draw.random() < 0.4:
        thing = " ".join(words[-2:])
    if draw.random() < 0.5:
        return thing
    return _OTHERWISE_WORDS.sub(lambda match: draw.choice(_OTHERWISE[match.group().lower()]), thing)


def _various(items: Sequence[_Asked], most: int, draw: random.Random) -> list[_Asked]:
    """At most `most` of them, of as many kinds as there are."""
    order = draw.sample(items, len(items))
    seen: dict[str, int] = {}
    turns = []
    for item in order:
        seen[item.kind] = seen.get(item.kind, 0) + 1
        turns.append(seen[item.kind])
    return [order[i] for i in sorted(range(len(order)), key=lambda i: turns[i])[:most]]


def _unanswerable(text: str, pool: Sequence[tuple[str, str]], most: int, draw: random.Random) -> Iterator[str]:
    """Questions of other reports about things that this one does not name, half of them near to what it does name."""
    stems = set(_stems(text))
    near: list[tuple[str, str]] = []
    far: list[tuple[str, str]] = []
    for wording, thing in draw.sample(pool, min(len(pool), 400)):
        own = list(_stems(thing))
        # The last word is the thing itself; those before it say where or of what kind.
        if own and not stems & set(_stems(_all_wordings(own[-1]))) and own[-1] not in stems:
            (near if stems & set(own[:-1]) else far).append((wording, thing))
    chosen = near[: (most + 1) // 2]
    for wording, thing in [*chosen, *far][:most]:
        yield wording.replace("{x}", _said_otherwise(thing, draw))


def _all_wordings(stem: str) -> str:
    """A word's other names."""
    return " ".join(other for word, others in _OTHERWISE.items() if word[:6] == stem for other in others)


def _stems(text: str) -> Iterator[str]:
    """The first six letters of every word that says something."""
    return (word[:6] for word in re.findall(r"[a-z]{3,}", text.lower()) if word not in _FILLERS)


_FILLERS = _words("the and with for from are was were there that this has have not left right within")


def _keyed(seed: int, name: str) -> random.Random:
    number = int.from_bytes(hashlib.sha256(f"{seed}:{name}".encode()).digest()[:8], "big")
    return random.Random(number)  # noqa: S311 - the same questions again, no secret
