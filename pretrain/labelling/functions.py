"""One labelling function per label, and the questions that they share."""

import re
from collections.abc import Callable

from pretrain.labelling import cues
from pretrain.labelling.sections import Section, Sentence

_PLANS = {Section.PLAN, Section.FOLLOW_UP, Section.DAILY_LIFE, Section.MEDICINES}


def lies_ahead(s: Sentence) -> bool:
    """Does it ask for, arrange or announce something, rather than tell what happened?"""
    return s.answers(_lies_ahead)


def _lies_ahead(s: Sentence) -> bool:
    is_refused = s.has(cues.NOT_NEEDED) and not s.has(cues.OUTPATIENT)
    if s.section is Section.BACKGROUND or s.has(cues.IN_THE_STAY) or is_refused:
        return False
    is_told = s.has(cues.PAST)
    if s.has(cues.FUTURE) or (s.has(cues.SHOULD) and not is_told):
        return True
    if s.section in _PLANS:
        return not is_told or any(map(s.has, (cues.SHOULD, cues.ADVICE, cues.LEAVING)))
    if s.has(cues.IMPERATIVE) and not is_told:
        return s.section is not Section.FINDINGS
    # "It was felt that he should have a scan" is about the stay, unless the scan is for later.
    if s.has(cues.ADVISED_PATIENT) or (s.has(cues.ADVICE) and s.is_late):
        return True
    return s.has(cues.OUTPATIENT) and (s.has(cues.SHOULD) or s.has(cues.LEAVING))


def tells_of_leaving(s: Sentence) -> bool:
    """Is it about the patient's leaving? "Was discharged with ..." is in the past tense, but holds from then on."""
    return s.section is not Section.BACKGROUND and s.has(cues.LEAVING) and not s.has(cues.NOT_NEEDED)


def is_warning(s: Sentence) -> bool:
    """Does it say when to call or to come back?"""
    return s.has(cues.WARNING) or (s.has(cues.CONTACT) and s.has(cues.CONDITION))


def is_pending(s: Sentence, tests: re.Pattern[str]) -> bool:
    """Does it say that the result of such a test is not back yet?"""
    found = cues.PENDING.search(s.body)
    if not found or s.has(cues.NOT_A_RESULT) or (s.section is Section.BACKGROUND and s.has(cues.PAST)):
        return False
    # A line of values may hold just one that is pending, the one next to the word.
    return tests.search(s.body[max(0, found.start() - 60) : found.end() + 60]) is not None


def is_to_be_done(s: Sentence, tests: re.Pattern[str]) -> bool:
    """Does it order such a test for after the stay?"""
    if not lies_ahead(s) or not (s.section in {Section.PLAN, Section.FOLLOW_UP} or s.has(cues.AFTER_THE_STAY)):
        return False
    # "This can be arranged by her doctor" is about the test of the sentence before.
    about = f"{s.before} {s.body}" if s.has(cues.POINTS_BACK) else s.body
    return any(not cues.TEST_DONE.match(about, test.end()) for test in tests.finditer(about))


def appointment(s: Sentence) -> bool:
    """A visit arranged or advised."""
    if not lies_ahead(s) and not tells_of_leaving(s):
        return False
    body = cues.NO_VISIT.sub(" ", s.body)
    has_visit, has_whom_or_when = cues.VISIT.search(body), cues.WHO_OR_WHEN.search(body)
    if is_warning(s):  # "return if ..." is no visit, but what has a time before the condition is one
        has_visit = has_visit and cues.WHEN.search(cues.CONDITION.split(body, maxsplit=1)[0])
    has_visit = has_visit or cues.FOLLOW_UP.search(body)
    is_about_visit = not any(map(s.has, (cues.LAB, cues.IMAGING, cues.DAILY_LIFE, cues.THERAPY, cues.POINTS_BACK)))
    if s.section is Section.FOLLOW_UP and has_whom_or_when and not is_warning(s):  # there "Dr. Y in one week" is enough
        return bool(has_visit or is_about_visit)
    return bool(has_visit and (has_whom_or_when or is_about_visit))


def lab(s: Sentence) -> bool:
    """A result that is pending, or a specimen to be taken after the stay."""
    if s.section is Section.AWAITED:
        return not s.has(cues.IMAGING) and not s.has(cues.NOT_A_RESULT)
    return is_pending(s, cues.LAB) or is_to_be_done(s, cues.LAB)


def imaging(s: Sentence) -> bool:
    """A film that is still to be read, or imaging to be done after the stay."""
    return (s.section is Section.AWAITED and s.has(cues.IMAGING)) or is_pending(s, cues.IMAGING) or is_to_be_done(s, cues.IMAGING)


def procedure(s: Sentence) -> bool:
    """An operation, an endoscopy, the removal of stitches or a tube, a functional test that lies ahead."""
    return is_to_be_done(s, cues.PROCEDURE) and bool(cues.PROCEDURE.search(cues.PROCEDURE_DONE.sub(" ", s.body)))


def medication(s: Sentence) -> bool:
    """A course with an end, a taper, a hold, a stop or a change of dose."""
    is_for_later = s.section in _PLANS or lies_ahead(s) or tells_of_leaving(s)
    # Drugs have so many names that it is the dearest question of all: only where the answer counts.
    if s.section is Section.BACKGROUND or not (is_for_later or s.has(cues.HELD_NOW)):
        return False
    is_listed = s.section is Section.MEDICINES and not s.has(cues.VISIT)
    if not (is_listed or s.has(cues.DRUG)) or s.has(cues.NOT_TO_DO):
        return False
    if is_for_later and s.has(cues.COURSE):
        return True
    is_changed = s.has(cues.HELD_NOW) or (s.section in _PLANS and s.has(cues.CHANGED_IN_STAY))
    return is_changed or (lies_ahead(s) and s.has(cues.CHANGE))


def other(s: Sentence) -> bool:
    """Services, therapy, consults, equipment, hand-over to an agency, or a work-up not further described."""
    ahead = lies_ahead(s)
    if ((ahead or tells_of_leaving(s)) and s.has(cues.SERVICE)) or (ahead and s.has(cues.THERAPY)):
        return not s.has(cues.SERVICE_DONE)
    return ahead and s.has(cues.WORKUP) and not any(map(s.has, (cues.LAB, cues.IMAGING, cues.PROCEDURE)))


def patient_instructions(s: Sentence) -> bool:
    """What the patient is to do: call or return if ..., diet, activity, self-care, go on with the medicines."""
    if s.section is Section.BACKGROUND:
        return False
    ahead = lies_ahead(s)
    if ((ahead or s.is_late) and is_warning(s)) or ((ahead or tells_of_leaving(s)) and s.has(cues.HANDOUT)):
        return True
    if not ahead:
        return False
    if s.has(cues.DAILY_LIFE) or (s.has(cues.OWN_MEDICINES) and not medication(s)):
        return True
    # Any other advice to the patient, unless it is an action of another kind.
    is_order = s.section is Section.PLAN and s.has(cues.ORDER) and not s.has(cues.DRUG) and not s.has(cues.OTHER_PLACES)
    is_advised = s.section is Section.DAILY_LIFE or (s.has(cues.ADVISED_PATIENT) and s.is_late)
    return (is_order or is_advised) and not any(asks(s) for asks in _ACTIONS.values())


_ACTIONS: dict[str, Callable[[Sentence], bool]] = {
    "Appointment": appointment,
    "Medication": medication,
    "Lab": lab,
    "Procedure": procedure,
    "Imaging": imaging,
    "Other": other,
}
FUNCTIONS = {"Patient instructions": patient_instructions, **_ACTIONS}
"""What says for each label whether a sentence gets it."""
