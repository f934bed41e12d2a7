"""From a seed to notes: patients, their stays, and what is written about each."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from random import Random

from appliance.demo.note_writer.conditions import CONDITIONS, Condition
from appliance.demo.note_writer.discharge import write_discharge_summary
from appliance.demo.note_writer.grammar import Draft, Fact, Identifier, Template, parse
from appliance.demo.note_writer.lexicon import JOBS, LEXICON, TERSE, person_facts
from appliance.demo.note_writer.page import Layout, Page
from appliance.demo.note_writer.people import DAYS, FIRST_DAY, HOSPITALS, a_date, clinician, doctor, email, person, phone
from appliance.demo.note_writer.radiology import write_radiology_report
from appliance.demo.note_writer.records import IdentifierKind, Person, Question, SyntheticNote
from appliance.demo.note_writer.studies import STUDIES
from integrations.records import Identifier as RecordIdentifier
from integrations.records import Note, NoteKind

BANNERS = (
    "SYNTHETIC NOTE, NOT A PATIENT",
    "*** SYNTHETIC NOTE, NOT A PATIENT ***",
    "Synthetic note, not a patient",
    "[Synthetic note, not a patient]",
)
AUTHORITY = "SYNTHETIC"
"""Assigning authority of every number."""
DISCHARGE_SUMMARY, IMAGING_STUDY = "18842-5", "18748-4"
"""LOINC codes of the two kinds of note."""

_FIELDS: tuple[str, ...] = (
    "<Patient|Name|Patient Name>: <{last, first}|{full name}>",
    "<MRN|Medical Record Number|Record No>: {record number}",
    "<DOB|Date of Birth|Born>: {born}",
    "<Age/Sex|Age and sex>: {age} <{sex}|y/o {sex}>",
)
_SUMMARY_FIELDS = (
    "<Admitted|Admission Date|Date of Admission>: {admitted}",
    "<Discharged|Discharge Date|Date of Discharge>: {discharged}",
    "<Attending|Attending Physician>: {attending}",
    "Service: {specialty}",
    "Visit: {visit number}",
    "Address: {address}",
    "<Phone|Tel>: {phone}",
    "<PCP|Family doctor>: {pcp}",
)
_REPORT_FIELDS = (
    "<Date of exam|Exam Date|Performed>: {study date}",
    "Accession: {visit number}",
    "<Ordered by|Referring physician>: {referrer}",
    "<Phone|Tel>: {phone}",
)
_SUMMARY_ENDS = (
    "Dictated by {author} on {discharged}.",
    "Electronically signed by {author}, {discharged} {clock}.",
    "cc: {pcp}, fax {clinic phone}",
    "{author}",
)
_REPORT_ENDS = (
    "Signed by {author} on {study date} at {clock}.",
    "Dictated by {author}.",
    "Reading room: {clinic phone}",
    "{author}, radiology",
)
# Without a choice in them, so that writing one leaves the rest of a note what it is.
_EMAIL_LINES = ("E-mail: {email}", "Email address: {email}", "Portal account: {email}", "Contact: {email}, {phone}")
_EMAIL_ENDS = ("cc: {email}", "Copy sent to {email}.", "Questions to {author email}.")


def write_notes(n: int, seed: int = 0) -> Iterator[SyntheticNote]:
    """The first `n` notes of the population that `seed` stands for: whole patients one after the other, but for the last.

    The same seed gives the same notes in every process, and asking for more changes none of the first.

    Raises:
        ValueError: `n` is negative.
    """
    if n < 0:
        raise ValueError(f"{n} notes cannot be written; ask for 0 or more")
    serial, left = 0, n
    while left:
        for note in _patient_notes(seed, serial):
            yield note
            left -= 1
            if not left:
                return
        serial += 1


def _patient_notes(seed: int, serial: int) -> Iterator[SyntheticNote]:
    # A string seeds Random by SHA-512, whatever PYTHONHASHSEED says.
    rng = Random(f"note writer/{seed}/{serial}")  # noqa: S311 - notes, not keys
    who = person(rng, serial + 1_000_003 * seed)
    admitted = FIRST_DAY + timedelta(days=rng.randrange(DAYS))
    number = rng.choice((1, 1, 2, 2, 3, 4))
    condition = rng.choice(CONDITIONS)
    for k in range(number):
        is_summary = rng.random() < (0.75 if k == number - 1 else 0.3)
        discharged = admitted + timedelta(days=rng.randint(2, 12))
        yield _write(rng, f"syn-{seed}-{serial:05d}-{k}", who, condition, admitted, discharged, is_summary)
        if is_summary:
            # The next note is of another stay.
            admitted = discharged + timedelta(days=rng.randint(20, 300))
            condition = rng.choice(CONDITIONS)


def _write(
    rng: Random, note_id: str, who: Person, condition: Condition, admitted: date, discharged: date, is_summary: bool
) -> SyntheticNote:
    layout = Layout.draw(rng)
    author = clinician(rng)
    study = STUDIES[rng.choice(condition.studies)]
    day = discharged if is_summary else admitted + timedelta(days=rng.randrange((discharged - admitted).days + 1))
    visit = f"SYN-{rng.randrange(10**8):08d}"
    base = TERSE if layout.terse else LEXICON
    facts: dict[str, Fact] = {**base, **person_facts(who, (day - who.born).days // 365)}
    facts |= stay_facts(rng, condition, admitted, discharged, who)
    facts |= {
        "author": doctor(rng, author),
        "visit number": (Identifier(visit, IdentifierKind.RECORD_NUMBER),),
        "author email": (Identifier(email(author, len(note_id)), IdentifierKind.EMAIL),),
        "study": (study.title,),
        "study date": a_date(rng, day, rng.randrange(5)),
    }
    page = Page(Draft(rng, facts), layout)
    title = "Discharge summary" if is_summary else study.title
    _header(page, title, is_summary)
    # Drawn apart, so that e-mail addresses come and go without changing the rest of a note.
    apart = Random(f"e-mail/{note_id}")  # noqa: S311
    if apart.random() < 0.3:
        page.line(apart.choice(_EMAIL_LINES))
    questions: tuple[Question, ...] = ()
    if is_summary:
        write_discharge_summary(page, condition)
    else:
        questions = write_radiology_report(page, study, note_id)
    if rng.random() < 0.7:
        page.blank_line()
        page.line(page.draft.pick(_SUMMARY_ENDS if is_summary else _REPORT_ENDS))
    if apart.random() < 0.15:
        page.line(apart.choice(_EMAIL_ENDS))
    written_at = datetime.combine(day, time(rng.randint(7, 20), rng.randrange(60)), UTC)
    return SyntheticNote(
        note=Note(
            note_id=note_id,
            kind=NoteKind.DISCHARGE_SUMMARY if is_summary else NoteKind.RADIOLOGY_REPORT,
            text=page.text(),
            patient=RecordIdentifier(who.record_number, AUTHORITY),
            encounter=RecordIdentifier(visit, AUTHORITY),
            document=RecordIdentifier(f"D-{note_id}", AUTHORITY),
            document_type=DISCHARGE_SUMMARY if is_summary else IMAGING_STUDY,
            written_at=written_at,
        ),
        title=title,
        written_at=written_at,
        patient=who,
        author=author,
        sentences=tuple(page.sentences),
        labels=tuple(page.labels),
        questions=questions,
        identifiers=tuple(page.draft.identifiers),
    )


def stay_facts(rng: Random, condition: Condition, admitted: date, discharged: date, who: Person) -> dict[str, Fact]:
    """What is true of one stay, and stays true throughout the note: its dates, its doctors, what it was for."""
    hand = rng.randrange(5)
    stay = (discharged - admitted).days

    def clinic_phone() -> Template:
        return (Identifier(phone(rng), IdentifierKind.PHONE),)

    def hospital() -> Template:
        return (Identifier(rng.choice(HOSPITALS), IdentifierKind.HOSPITAL),)

    return {
        "complaint": parse(condition.complaint),
        "specialty": (condition.specialty,),
        "job": (rng.choice(JOBS),),
        "other condition": parse("<hypertension|diabetes|asthma|cancer|smoking|recent surgery>"),
        "old year": lambda: (str(admitted.year - 1 - int(rng.random() * 9)),),
        "born": a_date(rng, who.born, hand),
        "admitted": a_date(rng, admitted, hand),
        "discharged": a_date(rng, discharged, hand),
        "stay date": a_date(rng, admitted, hand, after=stay),
        "visit date": a_date(rng, discharged + timedelta(days=3), hand, after=45),
        "end date": a_date(rng, discharged + timedelta(days=3), hand, after=11),
        "old date": a_date(rng, admitted - timedelta(days=30), hand, before=2000),
        "pcp": doctor(rng, clinician(rng)),
        "specialist": doctor(rng, clinician(rng)),
        "attending": doctor(rng, clinician(rng)),
        "referrer": doctor(rng, clinician(rng)),
        "clinic phone": clinic_phone,
        "hospital": hospital,
    }


def _header(page: Page, title: str, is_summary: bool) -> None:
    """What stands above the first section: at least that the note is synthetic."""
    rng = page.draft.rng
    page.draft.literal(rng.choice(BANNERS))
    page.keep_line(0)
    if rng.random() < 0.8:
        page.line("{hospital}")
    page.line(f"<{title}|{title.upper()}>")
    fields = rng.sample(_FIELDS, rng.randint(0, 3)) + rng.sample(*_some_fields(rng, is_summary))
    together = rng.random() < 0.35
    for number in range(0, len(fields), 3 if together else 1):
        page.line("   ".join(fields[number : number + 3]) if together else fields[number])


def _some_fields(rng: Random, is_summary: bool) -> tuple[tuple[str, ...], int]:
    fields = _SUMMARY_FIELDS if is_summary else _REPORT_FIELDS
    return fields, rng.randint(0, 4 if is_summary else 3)
