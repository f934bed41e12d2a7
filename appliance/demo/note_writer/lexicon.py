"""Words every note may use, written out or abbreviated, and the facts of one patient that fill the rest of the slots."""

from collections.abc import Mapping

from appliance.demo.note_writer.grammar import Fact, Identifier, Template, parse
from appliance.demo.note_writer.records import IdentifierKind, Person

_WORDS = {
    "daily": "<daily|once daily|every day|once a day>",
    "bid": "<twice daily|two times daily|twice a day>",
    "tid": "<three times daily|three times a day>",
    "nightly": "<at bedtime|nightly|every evening>",
    "prn": "as needed",
    "po": "<by mouth|orally>",
    "pt": "the patient",
    "with": "with",
    "history": "history",
    "discharge": "discharge",
    "follow up": "<follow up|follow-up>",
    "Please follow up": "<follow up|please follow up|follow-up>",
    "cxr": "chest <x-ray|radiograph>",
    "appointment": "<appointment|visit>",
    "an appointment": "<an appointment|a visit>",
    "bmp": "<basic metabolic panel|electrolytes and kidney function|serum creatinine and potassium>",
    "cbc": "<complete blood count|blood count>",
}
_TERSE = {
    "daily": "<daily|qday|q.d.|QD>",
    "bid": "<BID|b.i.d.|bid>",
    "tid": "<TID|t.i.d.|tid>",
    "nightly": "<qhs|QHS|at bedtime>",
    "prn": "<prn|PRN>",
    "po": "<PO|p.o.>",
    "pt": "pt",
    "with": "w/",
    "history": "hx",
    "discharge": "d/c",
    "follow up": "f/u",
    "Please follow up": "<f/u|pt to f/u|will f/u>",
    "cxr": "CXR",
    "appointment": "appt",
    "an appointment": "an appt",
    "bmp": "BMP",
    "cbc": "CBC",
}
_EITHER = {
    "in weeks": "in <one week|1 week|two weeks|2 weeks|2-3 weeks|three weeks|{3-8} weeks|{5-14} days|a month|{2-6} months>",
    "in days": "in <{2-9} days|{2-5} to {6-8} days|one week|1 week|48 hours|72 hours|10 days>",
    "in months": "in <{2-12} months|{6-10} weeks|one year|half a year|3 to 6 months>",
    "weekday": "<on Monday|on Tuesday|on Wednesday|on Thursday|on Friday|next week|early next week>",
    "clock": "<{8-11}:{10-55} AM|{1-4}:{10-55} PM|{8-11} am|{1-4} pm>",
    "side": "<left|right>",
    "vitals": "temperature {36.4-37.3}, heart rate {58-96}, blood pressure {104-148}/{58-88}, "
    "<oxygen saturation|saturation> {93-99}% on room air",
    "facility": "<short-term rehabilitation|a skilled nursing facility|acute rehabilitation|a rehabilitation facility>",
    "anticoagulant": "<apixaban|rivaroxaban|warfarin|enoxaparin>",
    "antibiotic": "<amoxicillin-clavulanate 875 mg|cefpodoxime 200 mg|doxycycline 100 mg|levofloxacin 750 mg|cephalexin 500 mg|"
    "ciprofloxacin 500 mg|trimethoprim-sulfamethoxazole 160 mg>",
    "home drug": "<amlodipine|lisinopril|losartan|metformin|hydrochlorothiazide|atenolol|gabapentin|omeprazole|ibuprofen|"
    "naproxen|glipizide|sertraline|simvastatin|spironolactone>",
    "allergen": "<penicillin|sulfa drugs|codeine|iodinated contrast|latex|shellfish|erythromycin|aspirin>",
    "reaction": "<rash|hives|nausea|swelling|itching|an unknown reaction>",
    "relative": "<wife|husband|daughter|son|sister|brother|neighbor>",
}

JOBS = (
    "retired teacher",
    "retired machinist",
    "bus driver",
    "gardener",
    "accountant",
    "nurse's aide",
    "carpenter",
    "cook",
    "librarian",
    "farmer",
    "locksmith",
    "tailor",
)

LEXICON: Mapping[str, Fact] = {name: parse(words) for name, words in {**_EITHER, **_WORDS}.items()}
TERSE: Mapping[str, Fact] = {**LEXICON, **{name: parse(words) for name, words in _TERSE.items()}}

_PRONOUNS = {
    "F": {"he": "she", "his": "her", "him": "her", "sex": "female", "man": "woman", "Mr": "Ms."},
    "M": {"he": "he", "his": "his", "him": "him", "sex": "male", "man": "man", "Mr": "Mr."},
}


def person_facts(person: Person, age: int) -> dict[str, Fact]:
    """What notes say about whom they are written about. `{Who}` opens a sentence."""
    name: Template = (f"{_PRONOUNS[person.sex]['Mr']} ", Identifier(person.family, IdentifierKind.NAME))
    facts: dict[str, Fact] = {slot: (word,) for slot, word in _PRONOUNS[person.sex].items()}
    who = parse("<{he}|{he}|{pt}|{pt}|{title name}>")
    return facts | {
        "age": (str(age),),
        "an": ("an" if 80 <= age < 90 else "a",),
        "title name": name,
        "Who": who,
        "full name": (Identifier(person.name, IdentifierKind.NAME),),
        "last, first": (Identifier(f"{person.family}, {person.given}", IdentifierKind.NAME),),
        "record number": (Identifier(person.record_number, IdentifierKind.RECORD_NUMBER),),
        "address": (Identifier(person.address, IdentifierKind.ADDRESS),),
        "phone": (Identifier(person.phone, IdentifierKind.PHONE),),
        "email": (Identifier(person.email, IdentifierKind.EMAIL),),
    }
