"""Radiology reports: findings, an impression, and the questions they answer or leave open."""

from collections.abc import Mapping
from typing import NamedTuple

from appliance.demo.note_writer.grammar import Draft, Fact
from appliance.demo.note_writer.page import Item, Page, Section
from appliance.demo.note_writer.records import Question
from appliance.demo.note_writer.studies import Study, Topic
from pretrain.text import Span

_HEADINGS: Mapping[str, tuple[str, ...]] = {
    "examination": ("Examination", "Exam", "Study", "Procedure"),
    "indication": ("Indication", "Clinical History", "Reason for Exam", "History"),
    "comparison": ("Comparison", "Prior Studies"),
    "technique": ("Technique", "Protocol"),
    "findings": ("Findings", "Report", "Description"),
    "impression": ("Impression", "Conclusion", "Summary", "Opinion"),
}
_INDICATIONS = (
    "{age}-year-old {man} {with} {complaint}.",
    "{complaint}.",
    "{complaint}, <evaluate|please assess|rule out acute disease>.",
    "{title name} has {complaint}; {history} of {other condition}.",
    "{age} y/o {sex}, {complaint}, requested by {referrer}.",
)
_COMPARISONS = (
    "None.",
    "None available.",
    "{study} from {old date}.",
    "Report of an outside examination dated {old date}.",
    "Prior study of {old year}.",
)
# The last word of a report, most of it about nothing to follow up.
_REMARKS = (
    "Otherwise unremarkable.",
    "<Support devices|Lines> are in standard position.",
    "Compared {with} {old year}, there is no interval change.",
    "Evaluation is limited by <motion|body habitus|overlying leads>.",
    "The findings were discussed {with} {referrer} by telephone at {clock}.",
    "No further evaluation is necessary.",
)


class _Said(NamedTuple):
    """One topic of this report: whether there is something, and the facts that findings and impression share."""

    topic: Topic
    is_present: bool
    facts: Mapping[str, Fact]


def write_radiology_report(page: Page, study: Study, note_id: str) -> tuple[Question, ...]:
    """Write everything below the header of a report of `study`; the questions it was read with."""
    draft = page.draft
    random, pick = draft.rng.random, draft.pick

    def section(name: str, items: list[Item], present: float = 1.0) -> Section | None:
        if not items or random() >= present:
            return None
        as_list = len(items) > 1 and random() < (0.5 if name == "impression" else 0.15)
        return page.section(pick(_HEADINGS[name]), items, as_list=as_list)

    section("examination", [Item("{study}<, {study date}| on {study date}|>.")], present=0.6)
    section("indication", [Item(pick(_INDICATIONS))], present=0.85)
    section("comparison", [Item(pick(_COMPARISONS))], present=0.65)
    section("technique", [Item(pick(study.techniques))], present=0.55)

    topics = draft.rng.sample(study.topics, len(study.topics))
    mentioned = topics[: max(2, len(topics) - int(random() * 4))]
    illness = pick((0.1, 0.3, 0.3, 0.5))
    said = [_Said(topic, random() < illness, _bound(draft)) for topic in mentioned]
    # Reports without findings or without an impression exist, but never without both.
    missing = random()
    found = None if missing < 0.12 else section("findings", _findings(draft, said))
    concluded = None if missing > 0.94 else section("impression", _impression(draft, said, study))
    return _questions(draft, note_id, topics, said, found, concluded)


def _bound(draft: Draft) -> Mapping[str, Fact]:
    pick = draft.pick
    return {
        "side": (pick(("left", "right")),),
        "size": (pick(("small", "trace", "moderate", "large", "tiny")),),
        "lobe": (pick(("upper", "lower")),),
        "mm": (str(3 + int(draft.rng.random() * 16)),),
    }


def _findings(draft: Draft, said: list[_Said]) -> list[Item]:
    """One item per topic, in their order, then perhaps a remark."""
    items = [Item(draft.pick(s.topic.present if s.is_present else s.topic.absent), facts=s.facts) for s in said]
    return [*items, Item(draft.pick(_REMARKS))] if draft.rng.random() < 0.4 else items


def _impression(draft: Draft, said: list[_Said], study: Study) -> list[Item]:
    """One item per topic, in their order, where there is something; advice comes last."""
    ill = [s for s in said if s.is_present]
    if not ill:
        return [Item(draft.pick(study.normal))]
    items = [Item(draft.pick(s.topic.impression), facts=s.facts) for s in ill]
    for topic, _, facts in ill:
        if topic.advice and draft.rng.random() < 0.45:
            label, template = draft.pick(topic.advice)
            items.append(Item(template, frozenset({label} if label else ()), facts))
    return items


def _questions(
    draft: Draft, note_id: str, topics: list[Topic], said: list[_Said], found: Section | None, concluded: Section | None
) -> tuple[Question, ...]:
    """Three to five questions, each asked of both sections; one about what a section passes over has no answer there."""
    ill = [s.topic for s in said if s.is_present]
    healthy = {s.topic for s in said if not s.is_present}
    sections: list[tuple[str, Section, dict[Topic, Span | None]]] = []
    if found:
        sections.append(("F", found, dict(zip((s.topic for s in said), found.marks, strict=False))))
    if concluded:
        sections.append(("I", concluded, dict(zip(ill, concluded.marks, strict=False))))
    questions = []
    for number, topic in enumerate(draft.rng.sample(topics, min(len(topics), 3 + int(draft.rng.random() * 3)))):
        # "How large is it?" takes for granted that there is one: not asked where the report says there is none.
        fitting = [q for q in topic.questions if topic not in healthy or not q.startswith(("How", "Where", "Which"))]
        text = draft.pick(fitting)
        for letter, section, answers in sections:
            questions.append(Question(f"{note_id}_{letter}_{number}", text, section.span, answers.get(topic)))
    return tuple(questions)
