"""Discharge summaries: which sections one has, and how much stands in each."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from appliance.demo.note_writer import discharge_phrases as phrases
from appliance.demo.note_writer.conditions import Condition
from appliance.demo.note_writer.page import Item, Page

# How often each label, or pair of labels, is drawn when something is left to do.
_WEIGHTS = {
    "Patient instructions": 36,
    "Appointment": 27,
    "Medication": 17,
    "Lab": 8,
    "Other": 7,
    "Imaging": 6,
    "Procedure": 5,
    "Appointment+Procedure": 3,
    "Appointment+Lab": 2,
    "Appointment+Imaging": 1,
    "Appointment+Medication": 1,
    "Lab+Medication": 1,
}
_DRAWS = tuple(key for key, weight in _WEIGHTS.items() for _ in range(weight))
_GENERAL: Mapping[str, tuple[str, ...]] = {**phrases.FOLLOW_UP, "Patient instructions": phrases.INSTRUCTIONS}
_LABELS = {key: frozenset(key.split("+")) for key in _WEIGHTS} | {"": frozenset[str]()}
_SILENT = 0.09
"""Share of summaries with nothing to follow up."""


class _Size(NamedTuple):
    """Sentences per section, and how likely a section is that can be missing."""

    few: int
    many: int
    follow_ups: tuple[int, int]
    optional: float


_SIZES = (
    _Size(1, 2, (1, 3), 0.15),
    _Size(1, 4, (3, 7), 0.55),
    _Size(2, 5, (4, 9), 0.75),
    _Size(2, 6, (5, 11), 0.8),
    _Size(4, 9, (6, 14), 0.97),
)


class _Plan(NamedTuple):
    """What is left to do, by the section it is said in."""

    course: list[Item]
    drugs: list[Item]
    disposition: list[Item]
    instructions: list[Item]
    follow_up: list[Item]


def write_discharge_summary(page: Page, condition: Condition) -> None:
    """Write everything below the header of a discharge summary."""
    draft = page.draft
    size = draft.pick(_SIZES)
    plan = _plan(page, condition, size)
    optional = size.optional

    def some(templates: Sequence[str], most: int = 99) -> list[Item]:
        # At least `few`, where there are so many.
        number = size.few + int(draft.rng.random() * (size.many - size.few + 1))
        return _items(draft.rng.sample(templates, min(number, most, len(templates))))

    def section(name: str, items: Sequence[Item], listed: float, present: float = 1.0) -> None:
        if items and draft.rng.random() < present:
            page.section(draft.pick(phrases.HEADINGS[name]), items, as_list=draft.rng.random() < listed)

    # Half of the past goes with the diagnoses, so that nothing is said twice.
    past = some(phrases.PAST)
    known = len(past) // 2
    section("diagnoses", _items((condition.diagnosis + ".",)) + past[:known], listed=0.7)
    section("complaint", _items(("{complaint}.",)), listed=0, present=optional * 0.6)
    section("history", _items((draft.pick(_OPENINGS),)) + some(condition.history), listed=0, present=optional)
    section("past", past[known:], listed=0.6, present=optional)
    section("social", some(phrases.SOCIAL, 3), listed=0.1, present=optional * 0.5)
    section("allergies", some(phrases.ALLERGIES, 1), listed=0, present=optional * 0.7)
    section("home drugs", some(phrases.HOME_DRUGS), listed=0.9, present=optional * 0.7)
    section("exam", some(phrases.EXAM), listed=0.3, present=optional * 0.8)
    section("results", some((*condition.results, *phrases.RESULTS)), listed=0.3, present=optional)
    section("course", some((*condition.course, *phrases.COURSE), 8) + plan.course, listed=0.15)
    section("consults", some(phrases.CONSULTS, 3), listed=0.6, present=optional * 0.4)
    drugs = _items(condition.drugs) + some(phrases.HOME_DRUGS) + plan.drugs
    section("drugs", draft.rng.sample(drugs, len(drugs)), listed=0.95, present=1.0 if plan.drugs else optional)
    section("condition", some(phrases.CONDITION, 1), listed=0, present=optional)
    section(
        "disposition",
        plan.disposition or some(phrases.DISPOSITION[""], 1),
        listed=0,
        present=1.0 if plan.disposition else optional,
    )
    section("instructions", _mixed(page, plan.instructions, phrases.NO_INSTRUCTIONS), listed=0.5)
    section("follow up", _mixed(page, plan.follow_up, phrases.NO_FOLLOW_UP), listed=0.6)


_OPENINGS = (
    "{title name} is {an} {age}-year-old {man} who came in {with} {complaint}.",
    "This {age} year old {man} presented on {admitted} {with} {complaint}.",
    "{age} y/o {sex}, brought in by {his} {relative} because of {complaint}.",
    "The patient, {an} {age}-year-old {job}, was sent in by {pcp} for {complaint}.",
)


def _items(templates: Sequence[str], key: str = "") -> list[Item]:
    return [Item(template, _LABELS[key]) for template in templates]


def _plan(page: Page, condition: Condition, size: _Size) -> _Plan:
    draft, random = page.draft, page.draft.rng.random
    plan = _Plan([], [], [], [], [])
    if random() < _SILENT:
        return plan
    low, high = size.follow_ups
    said: set[str] = set()
    for _ in range(low + int(random() * (high - low + 1))):
        key = draft.pick(_DRAWS)
        places: tuple[list[Item], ...] = (plan.follow_up, plan.follow_up, plan.follow_up, plan.course)
        tables: list[tuple[str, ...]] = [table[key] for table in (condition.follow_up, _GENERAL) if key in table]
        if key == "Medication" and random() < 0.6:
            places, tables = (plan.drugs,), [phrases.DRUGS[key], *tables]
        elif key == "Patient instructions":
            places = (plan.instructions,) * 4 + (plan.follow_up,)
        elif key == "Other" and not plan.disposition and random() < 0.4:
            places, tables = (plan.disposition,), [phrases.DISPOSITION[key]]
        if not tables:
            continue
        template = draft.pick(draft.pick(tables))
        if template not in said:
            said.add(template)
            draft.pick(places).append(Item(template, _LABELS[key]))
    return plan


def _mixed(page: Page, items: Sequence[Item], harmless: Sequence[str]) -> list[Item]:
    """The items with, now and then, one between them that reads alike and asks for nothing; it may stand alone."""
    mixed = list(items)
    if page.draft.rng.random() < 0.4:
        mixed.insert(int(page.draft.rng.random() * (len(mixed) + 1)), Item(page.draft.pick(harmless)))
    return mixed
