"""Labelling functions for follow-up actions in hospital discharge summaries, one vote per label, sentence by sentence.

Each sentence becomes a `Sentence` (its words, the kind of section it stands in, whether it looks ahead); each function
in `VOTERS` says for one label whether the sentence deserves it. No rule knows a particular hospital's wording.
"""
import re
from collections.abc import Callable
from dataclasses import dataclass


def _re(*alternatives: str) -> re.Pattern[str]:
    """Compile the alternatives into one pattern without regard to case; every repeat in them is bounded."""
    return re.compile("|".join(alternatives), re.IGNORECASE)


def _words(*alternatives: str) -> re.Pattern[str]:
    """The same for alternatives that begin and end at a word boundary."""
    return _re(rf"\b(?:{'|'.join(alternatives)})\b")


# ---- building blocks -------------------------------------------------------------------------------------------------
NUMBER = (r"(?:\d+|an?|one|two|three|four|five|six|seven|eight|nine|ten|twelve|fourteen|several|few|"
          r"couple of)(?: ?(?:to|-|or|more|additional|full|and a half) ?(?:\d+|\w+)?)?")
UNIT = r"[- ]?(?:more |additional |full )?(?:days?|weeks?|months?)"
IN_TIME = (rf"(?:(?:in|within|after|at) (?:the )?(?:next )?(?:about |approximately )?{NUMBER}(?:{UNIT}| hours|"
           r" years?)|tomorrow|next (?:week|month|available)|(?:mon|tues|wednes|thurs|fri|satur|sun)day|"
           r"\d{1,2}/\d{1,2}|as (?:scheduled|needed))")
PROVIDER = (r"(?:dr\b|doctor|physician|\bpcp\b|primary|clinic|office|surgeon|surgery|[a-z]+ologist|[a-z]+ology|"
            r"pediatric|orthop|psychiatr|therapist|\bcenter\b|provider|practitioner|obstetric|podiatr|\bm\.?d\b|"
            r"with me\b|with us\b)")
WHEN = _re(IN_TIME)
# Looking ahead, as opposed to telling what happened.
FUTURE = _words(r"will|shall|should|must|please(?! (?:see|refer|note))|needs?(?! for)|due for|going to|supposed to|"
                r"ok(?:ay)? to|allowed to|was to be|(?:is|are) to|(?:i|we) (?:would )?recommend|"
                r"recommend(?:ed)? that|plans? (?:is|to|for)|(?:is|are|has been|have been) (?:also )?(?:scheduled|"
                r"arranged)|scheduled (?:for|as) (?:an )?outpatient|(?:patient|he|she|mother|mom|parents?|"
                r"family) to (?!be\b)(?!the\b)\w+|to be (?:re)?(?:followed|seen|removed|drawn|checked|arranged|"
                r"scheduled|done|obtained|repeated|performed|evaluated|monitored|referred|taken|continued|"
                r"discontinued)")
INSTRUCTED = _re(r"\b(?:instructed|instruct (?:him|her|them)|advis|told|asked|encourag|counseled|educated|caution|"
                 r"remind|warned|urged|directed)")
NEGATED = _words(r"no (?:further |specific |additional )?(?:follow\S*|need|appointment|home health)|no longer|"
                 r"(?:does |did |do )?not (?:need|require)|without (?:need|follow\S*)|declin\w+|refus\w+")
# "She was discharged with ..." is in the past tense but says what happens after discharge.
LEAVING = _re(r"\bdischarg|\bsent home|\bsend (?:him|her|the patient)? ?home|\bgo(?:ing)? home|\bhome (?:with|on)\b")
OUTPATIENT = _re(rf"\boutpatient\b|\bafter discharge\b|{IN_TIME}|\bclinic\b|\boffice\b|\bweekly\b|\bfollow[- ]?up\b|"
                 r"\bprimary\b|\bat home\b|\bin the future\b")
IN_THE_STAY = _words(r"on admission|prior to admission|yesterday|this morning")

# ---- sections --------------------------------------------------------------------------------------------------------
HEADING = re.compile(r"^\W*(?:\d+[.)]\s*)?(?P<name>[A-Z][A-Za-z0-9 /&'(),#-]{2,60}?)\s*:+\s*")
BARE_HEADING = re.compile(r"^\W*(?P<name>[A-Z][A-Z /&'-]{3,60})\s*$")
# The first kind whose words occur in the heading wins, so "DISCHARGE INSTRUCTIONS AND MEDICATIONS" is a plan.
SECTION_KINDS = [(kind, _re(words)) for kind, words in (
    ("pending", r"\bpending|outstanding"),
    ("plan", r"instruction|\bplan|disposition|recommend|aftercare|patient education|precaution|tests ordered|to do\b"),
    ("background", r"reason for"),
    ("followup", r"follow|appointment|return visit"),
    ("course", r"course|hospital stay|\bsummary|^history$|narrative"),
    ("background", r"(?:home|admi\w+|current|outpatient|prior|past) .*medic|medic\w* .*(?:admission|home)"),
    ("findings", r"diagnos|impression|\blab|patholog|studies|x-?ray|radiolog|imaging|culture|findings|\bdata\b"),
    ("background", (r"history|exam|review of systems|complaint|vital|allerg|procedure|operation|consult|surgery|admi|"
                    r"date of|"
                    r"complication|mental status|immunization|\baxis|\bgeneral\b|\bheent\b|service")),
    ("lifestyle", r"\bdiet|activit|restriction|wound care"),
    ("medicines", r"medic|\bmeds\b|prescri"),
    ("neutral", r"condition|goals|prognosis|code status|time spent|disclaimer"),
)]
AHEAD_KINDS = {"plan", "followup", "lifestyle"}


@dataclass(frozen=True)
class Sentence:
    """One sentence with what the labelling functions need to know of its surroundings."""

    body: str  # the sentence without its heading
    section: str  # one of the kinds in SECTION_KINDS
    position: float  # 0 at the note's beginning, 1 at its end

    def has(self, pattern: re.Pattern[str]) -> bool:
        """Whether the pattern occurs anywhere in the sentence."""
        return bool(pattern.search(self.body))

    @property
    def told_ahead(self) -> bool:
        """The sentence itself looks ahead; what a patient was told counts, except in the history of the illness."""
        return self.has(FUTURE) or self.section != "background" and self.has(INSTRUCTED)

    @property
    def ahead(self) -> bool:
        """The sentence speaks of what comes after discharge, by its section or by its own words."""
        return self.section in AHEAD_KINDS or self.told_ahead

    @property
    def test_ahead(self) -> bool:
        """A test or procedure named here lies ahead: by a plan section, or by its words plus an outpatient setting."""
        return self.section in {"plan", "followup"} or (
            self.section != "background" and self.has(FUTURE) and self.has(OUTPATIENT) and not self.has(IN_THE_STAY))


def kind_of_heading(name: str, current: str) -> str:
    """The kind of section a heading opens; an unknown one (often an organ) stays inside a story but ends a plan."""
    for kind, words in SECTION_KINDS:
        if words.search(name):
            return kind
    return current if current in {"background", "course", "findings"} or not name.isupper() else "neutral"


def read_sentences(text: str, spans: list[tuple[int, int]]) -> list[Sentence]:
    """Walk through the note, keeping track of the section; a heading may stand alone or open a sentence."""
    sentences, section = [], "neutral"
    for start, end in spans:
        body = " ".join(text[start:end].split())
        heading = HEADING.match(body) or BARE_HEADING.match(body)
        # In mixed case only a few known words ("Diet:", "Follow up:") make a heading; other colons are just colons.
        if heading and not heading["name"].isupper():
            known = any(words.search(heading["name"]) for _, words in SECTION_KINDS)
            heading = heading if known and len(heading["name"].split()) <= 4 else None
        if heading:
            section = kind_of_heading(heading["name"], section)
            body = body[heading.end():]
        sentences.append(Sentence(body, section, start / max(1, len(text))))
    return sentences


# ---- Appointment -----------------------------------------------------------------------------------------------------
FOLLOW_UP = _re(r"\bfollow(?:ing|ed)?[- ]?ups?\b(?! (?:chest|ct|mri|x-?ray|imaging|ultrasound|echo\w*|labs?|blood|"
                r"cbc|colonos))|\bfollow (?:with|as)\b|\bbe followed (?:in|at|with|by|as|closely)\b")
VISIT = _re(r"\b(?:be|been) (?:re-?)?(?:seen|evaluated) (?:\w+ ){0,4}?(?:by|in|at|on|with|for)\b|\bre-?admi(?:t|"
            rf"ssion)|\b(?:see|visit)s? (?:\w+ ){{0,4}}?{PROVIDER}|\breturn to (?:see\b|(?:the )?(?:clinic|office))|"
            r"admission on\b|\bsee(?:ing|s)? (?:me|us|him|her|the patient|"
            rf"them)(?: back)?(?: again)? .{{0,40}}?{IN_TIME}|\b(?:return|come back|be back|recheck\w*|"
            rf"re-?evaluat\w+) .{{0,60}}?(?:{IN_TIME}|clinic|office|\bcenter\b)")
APPOINTMENT = _re(r"\b(?:has|have|had|make|made|making|keep|schedul\w+|arrang\w+|call\w*|contact|given|set up|obtain|"
                  r"need\w*)\b.{0,80}\b(?:appointment|checkup|(?:clinic|office) visit)|"
                  r"\bappointments? .{0,30}\b(?:is|are|will|has been)\b|\bvisit (?:was|has been|is|will be|"
                  r"to be) (?:\w+ )?(?:arranged|scheduled|made|given)")
REFERRED = _re(r"\breferred (?:\w+ ){0,2}?to\b|\breferrals? (?:for|was|has been|to)\b")
NAMES_A_VISIT = _re(rf"{PROVIDER}|{IN_TIME}|re-?admi|admission on|arrang|schedul|appointment")
CARE_FACILITY = _words(r"skilled nursing|nursing home|rehab\w*|facility")
# "Her labs will be followed" is no visit, and "no driving until she sees us" only mentions one.
RESULT_FOLLOWED = _re(r"\b(?:labs?|levels?|tests?|counts?|creatinine|inr|hemoglobin|this|these|which|that|it|"
                      r"results?)\b.{0,40}\b(?:will|should|to|can|need to|must) be (?:\w+ )?followed\b(?! by dr)")
UNTIL_VISIT = _re(r"\b(?:until|before|prior to|after)(?: after)? (?:(?:his|her|the|your) (?:\w+ )?follow|\w+ sees?\b|"
                  r"seen)")
SERVICE_VISIT = _re(r"consult|physical therapy|occupational therapy|home health|\bnurs|\bpt\b|\bot\b|therapist|"
                    r"social work")
CONDITIONAL = _words(r"if|should (?:he|she|they|you|there|any|symptoms)|in case|in the event|(?:for|with) any|"
                     r"when(?:ever)?|any (?:questions|concerns|problems)|unless|worsen\w*|questions|temperature|"
                     r"fevers?")
URGENT_PLACE = _re(r"emergency|\ber\b|\bed\b|hospital|immediately|urgent")


def appointment(s: Sentence) -> bool:
    """A visit arranged or advised: follow up with ..., will be seen in ..., appointment on ..., referred to ..."""
    if s.has(NEGATED) or s.section == "background" and not s.has(FUTURE):
        return False
    if s.has(STITCHES) and procedure(s):
        return True  # somebody has to see the patient to take them out
    visit_words = s.has(FOLLOW_UP) or s.has(VISIT) or s.has(APPOINTMENT)
    test_only = (s.has(LAB) or s.has(IMAGING)) and not visit_words
    if s.section == "followup" and s.has(NAMES_A_VISIT) and not s.has(CARE_FACILITY) and not test_only:
        return visit_words or not s.has(CONTACT)
    if s.has(UNTIL_VISIT) or s.has(RESULT_FOLLOWED):
        return s.has(VISIT) and not s.has(UNTIL_VISIT)
    if s.has(FOLLOW_UP):
        # "We did have follow-up" tells of the past; after the medicines the words alone are a plan.
        after_story = s.section in {"medicines", "neutral"} and not re.search(r"\b(?:was|were|had)\b", s.body)
        return s.ahead or after_story or s.has(LEAVING) or s.body.lower().startswith(("follow", "to follow"))
    if s.has(APPOINTMENT) and (s.ahead or s.section in {"medicines", "neutral", "course"} and s.position > 0.6):
        return True
    if s.has(VISIT) and s.ahead and not s.has(SERVICE_VISIT):
        return not (s.has(URGENT_PLACE) and s.has(CONDITIONAL))
    return s.has(REFERRED) and (s.ahead or s.has(LEAVING))


# ---- Medication ------------------------------------------------------------------------------------------------------
# Signs that a sentence is about a drug: doses, schedules, forms, name endings and very common names.
DRUG = _re(r"\b\d+(?:\.\d+)? ?(?:mg|mcg|grams?|g|units?|mEq)\b|\b(?:p\.?o\.|b\.?i\.?d\b|t\.?i\.?d\b|q\.?i\.?d\b)|"
           r"\b(?:tablets?|capsules?|doses?|day course|week course|medications?|medicines?|antibiotics?|steroids?|"
           r"drops|ointment|insulin|aspirin|coumadin|warfarin|heparin|lovenox|plavix|lasix|keflex|levaquin|cipro|"
           r"bactrim|augmentin|flagyl|zithromax|omnicef|vancomycin|prednis\w+|medrol|decadron|metformin|glucophage|"
           r"digoxin|motrin|ibuprofen|premarin|nsaids?|inhaler|narcotics?|\w+(?:cillin|mycin|floxacin|cycline|azole|"
           r"pril|sartan|olol|statin|sone|olone|oxin|azepam|pine))\b")
DURATION = _re(r"(?:\b(?:for|over|times(?! an?\b))|\bx) ?(?:a |an )?(?:the )?(?:total (?:of )?|another |additional |"
               rf"next |about |approximately |at least )?{NUMBER}(?:{UNIT}| doses?)\b|\b(?:another|additional|"
               rf"remaining) {NUMBER}(?:{UNIT}| doses)|\b{NUMBER}{UNIT}(?:'s?)? (?:course|supply|taper|worth)|"
               rf"\b{NUMBER} (?:more|additional|remaining) (?:days|doses)")
ENDING = _re(r"\btaper|\bcomplete (?:the|his|her|an?|\d|course|out)|\bto complete\b|\bwill (?:complete|finish)|"
             r"\bfinish|\bcourse of\b|\buntil\b|\bthrough \d|\bthen (?:stop|decrease|discontinue|reduce)|\bwean")
CHANGE = _words(r"dis?continu(?:e|ed|ing)|stop(?:ped|ping)?|hold(?:ing)?|held|(?:not|never) (?:\w+ )?(?:re)?(?:start|"
                r"take|resume)|avoid|increas(?:e|ed|ing)|decreas(?:e|ed|ing)|reduc(?:e|ed|ing)|adjust(?:ed|ing)?|"
                r"titrat\w+|switch(?:ed)?|chang(?:e|ed|ing)")
DOSE_CHANGED = _re(r"^(?!.*\b(?:was|were|had)\b).*\b(?:increased|decreased|reduced|changed) (?:to|from) ")
SYMPTOM_CHANGE = _re(r"\b(?:increas|decreas|chang)\w+ (?:in )?(?:pain|redness|swelling|drainage|activity|temperature|"
                     r"fever|short|sympt)")
BEFORE_LEAVING = _re(r"\b(?:prior to|before) (?:being |her |his |the )?discharge|\btoday,")
GIVEN = _words(r"prescriptions?|prescribed|script|i gave|was given an?")


def medication(s: Sentence) -> bool:
    """A course with an end, a taper, a hold, a stop or a dose change of a drug that the patient leaves with."""
    about_drug = s.section == "medicines" or s.has(DRUG)
    if not about_drug or s.section in {"background", "lifestyle"} or s.has(BEFORE_LEAVING) or s.has(SELF_CARE):
        return False
    if s.section == "findings" and not s.has(FUTURE):
        return False
    if s.has(DURATION) or s.has(ENDING):
        return s.section in {"medicines", "plan", "followup"} or s.told_ahead or s.has(LEAVING) or s.has(GIVEN)
    # In the story of the stay most changes are over and done with, so there the sentence itself must look ahead.
    return s.has(CHANGE) and not s.has(SYMPTOM_CHANGE) and (
        s.section == "medicines" or s.told_ahead or s.section == "plan" and s.has(DOSE_CHANGED))


# ---- Lab and Imaging -------------------------------------------------------------------------------------------------
PENDING = _re(r"\bpending\b|\bawait(?:ing|ed)?\b|\boutstanding\b|\bneither of which ha|\bwill (?:return|be back)\b|"
              r"\byet to return\b|\b(?:not|never) (?:\w+ ){0,2}?(?:back|returned|resulted|available (?:at|as of|yet)|"
              r"finalized)\b")
PENDING_NOW = _re(r"\b(?:is|are|still|remains?)(?: \w+)? pending\b")
NOT_A_RESULT = _re(r"\bpending (?:discharge|placement|transfer|insurance|approval|bed|clinical|evaluation|further)|"
                   r"(?:placement|charges|litigation|insurance|approval) (?:is|are|was)? ?(?:still )?pending")
LAB = _words(r"labs?|laborator\w+|blood ?work|blood (?:tests?|counts?|sugars?|cultures?|draw)|cbc|bmp|cmp|"
             r"chem(?:istr\w+|-?\d+)|inr|protime|prothrombin|electrolytes?|potassium(?! chloride)|bun|creatinine|"
             r"hemoglobin|hematocrit|h&h|hgb|platelets?|ua|urinalysis|lfts?|liver function|tsh|thyroid function|"
             r"levels?|cultures?|sensitivit\w+|susceptibilit\w+|patholog\w+|biops(?:y|ies)|cytolog\w+|microbiolog\w+|"
             r"serolog\w+|titers?|pcr|antibod(?:y|ies)|chlamydia|gonorrhea|screen|lipid|a1c|bilirubin|specimen|"
             r"stains?|metabolic (?:panel|profile)")
DRAW = _re(r"\b(?:re-?check|check|draw|repeat|monitor|follow|obtain|have (?:an?|his|her|the|some|labs?|blood|weekly|"
           r"\w+ levels?)\b|get|measure|lab ?work|weekly)")
# Past samples, and the sugars that patients check themselves.
SAMPLE_DONE = _words(r"(?:was|were) (?:\w+ )?(?:checked|drawn|repeated|obtained|monitored|followed|sent|done|"
                     r"negative|normal|positive|stable|elevated)|accu-?chek\w*|blood (?:sugars?|glucose)|"
                     r"fingerstick\w*")
NONE = _re(r"^(?:none|no\b|n/a|not applicable|nothing)")
IMAGING = _words(r"x-?rays?|films?|radiographs?|ct|cat scan|mri|mra|ultrasound|sonogram|mammogra\w+|flat plate|"
                 r"scans?|imaging|nuclear|echocardiogra\w+|echo|dexa|dopplers?|duplex|angiogram|barium|"
                 r"swallow(?:ing)? study|upper gi|hida|vcug|kub")
TEST_DONE = _words(r"was|were|had|showed?|shows|revealed|reveals|demonstrated|has been|have been|s/p|status post|"
                   r"normal")
TO_DO = _words(r"repeat|obtain|have|get|undergo|order|arrange\w*|will|need\w*|check|schedul\w+|recommend\w*|return|"
               r"follow\w*|in \d|(?:for|with) (?:an?|his|her|the|repeat)|outpatient|should|to be")


def is_pending(s: Sentence, what: re.Pattern[str], reach: int = 80) -> bool:
    """Something of this sort stands close to a word for "not back yet"; a line of values may hold just one such."""
    found = PENDING.search(s.body)
    if not found or s.has(NOT_A_RESULT) or s.section == "background" and not s.has(PENDING_NOW):
        return False
    return bool(what.search(s.body[max(0, found.start() - reach):found.end() + reach // 2]))


def lab(s: Sentence) -> bool:
    """A result that is still pending, or blood and other samples to be taken after discharge."""
    if s.section == "pending":
        return len(s.body) > 2 and not s.has(IMAGING) and not s.has(NONE)
    if s.section == "followup" and s.has(LAB) and s.has(WHEN) and not s.has(FOLLOW_UP) and not s.has(VISIT):
        return True
    if is_pending(s, LAB):
        return not is_pending(s, IMAGING, 40)
    return s.has(LAB) and s.has(DRAW) and s.test_ahead and not s.has(SAMPLE_DONE)


def imaging(s: Sentence) -> bool:
    """A film that is still to be read, or imaging to be done after discharge."""
    if not s.has(IMAGING):
        return False
    if is_pending(s, IMAGING):
        return True
    return not s.has(TEST_DONE) and (s.section in {"pending", "followup"} or s.test_ahead and s.has(TO_DO))


# ---- Procedure -------------------------------------------------------------------------------------------------------
STITCHES = _words(r"staples?|sutures?|stitches")
DEVICE = r"(?:staples?|sutures?|stitches|stents?|drains?|catheter|foley|pins?|hardware|picc|cast|port-?a-?cath)"
OPERATION = _re(rf"\b{DEVICE}\b.{{0,40}}?\b(?:removed|removal|out|changed?|discontinued)\b|\bremov(?:e|"
                rf"al) (?:of )?(?:the |his |her )?{DEVICE}\b|\bvoiding trial|\bsleep study|\bbone marrow|\bbiops|"
                r"\b(?:colon|endo|bronch|cyst|sigmoid|strob|videostrob)oscop|\begd\b|\bcolposcop|\bcatheterization|"
                r"\bsurgery\b|\bsurgical (?:repair|excision)|\bradiation therapy|\bchemotherapy|"
                r"\b\w{4,30}(?:ectomy|otomy|plasty)\b|\bpacemaker|\beeg\b|(?<!nuclear )\bstress test|\bholter|"
                r"\baudiolog|\bhearing")
PLANNED = _words(r"will|should|is to|to be|to have|needs?|schedul\w+|referred|recommend\w*|plan\w*|for (?:staple|"
                 r"suture|stent)|arrang\w+|return|follow|removal|consider")
OPERATION_PAST = _words(r"recent|after (?:\w+ )?(?:placement|surgery|procedure)|status post|s/p|history of|"
                        r"post-?op\w*|tolerated|after (?:his|her|the)|underwent|performed|following")
ONLY_MENTIONED = _re(r"\b(?:from|of|about|for|regarding) (?:the |his |her )?(?:recent )?(?:surgery|operation)|"
                     r"surgery (?:clinic|office|team)|\bdr\.? \w+,? (?:in |of |with |from )?(?:\w+ )?surgery\b|pain|"
                     r"fever|incision|redness")


def procedure(s: Sentence) -> bool:
    """Stitches or tubes to be taken out, an operation, an endoscopy or a similar procedure that lies ahead."""
    if not s.has(OPERATION) or not s.has(PLANNED) or s.section == "background":
        return False
    if s.has(ONLY_MENTIONED) or s.has(PENDING):
        return False
    if s.has(STITCHES):
        return s.section in {"plan", "followup"} or s.has(FUTURE)
    return s.section != "findings" and s.test_ahead and not s.has(OPERATION_PAST)


# ---- Other: services -------------------------------------------------------------------------------------------------
SERVICE = _re(r"\bhome-? ?(?:health|nurs\w+|care|oxygen|o2|iv|pt|physical|hospice|visits?|infusion)\b|\bhospice\b|"
              r"\bvisiting nurs|\bvna\b|\bskilled nursing (?:come|visit|care|services)\b|\boxygen at home\b|"
              r"\b(?:supplemental )?oxygen .{0,30}liters?|\boutpatient (?:\w+ )?(?:therapy|pt|rehab\w*|counseling|"
              r"program)\b|\bmeals on wheels|\bdurable medical|\bhospital bed|\bearly intervention|\bsupport group|"
              r"\balcoholics anon|\baa meetings|\bprotective services")
CONSULT = _re(r"\bcase manage|\bsocial (?:work|services?)|\b(?:dietary|dietitian|nutrition\w*)(?: \w+)? consult")
THERAPY = _words(r"pt|(?:physical|occupational|speech)(?: and (?:occupational|speech))? therapy|(?:cardiac|"
                 r"pulmonary) rehab\w*|(?:need|receive|require)\w* (?:\w+ )?nursing|respiratory care")
ARRANGED = _re(r"\b(?:arrang|set up|order|consults|will follow)")
THERAPY_AHEAD = _words(r"will|is to|are to|should|needs?|to (?:start|begin|receive|have|continue)|continue|"
                       r"outpatient|recommend\w*|arrang\w+|for|with")
CLOTTING_TIME = _re(r"\bpt/?,? ?(?:inr|ptt)|prothrombin")
SERVICE_DONE = _words(r"(?:was|were|had) (?:\w+ )?(?:seen|evaluated|consulted|initiated|working|started|given|"
                      r"treated|followed|referred)|cleared|attended|completed|exercises|improved with")


def other(s: Sentence) -> bool:
    """Services after discharge: home health, therapy, oxygen, hospice, dietary or social-work consults."""
    if s.section in {"background", "lifestyle"} or s.has(NEGATED):
        return False
    if s.has(SERVICE) and (s.ahead or s.has(LEAVING) or s.has(ARRANGED)):
        return s.has(ARRANGED) or not s.has(SERVICE_DONE)
    if s.has(CONSULT):
        return s.has(FUTURE) or s.section in AHEAD_KINDS and s.has(ARRANGED)
    if not s.has(THERAPY) or s.has(CLOTTING_TIME) or s.has(SERVICE_DONE):
        return False
    return s.has(FUTURE) or s.section in AHEAD_KINDS and s.has(THERAPY_AHEAD)


# ---- Patient instructions --------------------------------------------------------------------------------------------
CONTACT = _words(r"call\w*|contact\w*|notif(?:y|ied)|return|seek\w*|come (?:back|in|to)|go to|report\w*|present to|"
                 r"be seen|follow-?up|phone")
CONTACT_PAST = _words(r"returned|was called|called (?:me|us)|reported")
DRESSING = r"(?:dressing|wounds?|incision|cast|splint|drain|foot|leg|arm|collar|brace|stockings|shoe|ice)"
SELF_CARE = _words(r"diet|activit(?:y|ies)|weight ?-?bear\w*|lift(?:ing)?|driv(?:e|ing)|shower\w*|bath(?:e|ing|s)?|"
                   r"ambulat(?:e|ing|ion)|exercis\w*|bed ?rest|at rest|crutches|intercourse|pelvic rest|strenuous|"
                   r"smok(?:e|ing)|alcohol|fluid (?:intake|restriction)|low[- ]salt|sitz|(?:extra|oral|plenty of|"
                   r"push|encourage|drink) fluids?|(?:return|back) to (?:work|school)|off work|swim\w*|tub|soak\w*|"
                   rf"wound care|precautions|feed(?:ing|ings)?|breast-?feed\w*|formula|{DRESSING}\b.{{0,40}}\b(?:dry|"
                   r"clean|care|elevat\w+|chang\w+|all times|wear)|(?:wear|keep|elevate|"
                   rf"change)\b.{{0,40}}\b{DRESSING}")
PAST_STATE = _words(r"(?<!as )tolerat(?:ed|ing)|(?:was|were) (?:able|ambulating|placed|started|advanced|clean|dry|"
                    r"healing)|advanced|history of|patient was (?:up|out)")
OWN_MEDICINES = _re(r"\b(?:resum\w+|continu(?:e|ing)|take|restart)\b.{0,50}?\b(?:medications?|medicines?|meds\b|"
                    r"home (?:drugs|regimen))")
ADVICE = _re(r"\b(?:is|are|was|were|been|have|has|had|i|we|also|and) (?:\w+ ){0,3}?(?:instructed|advised|told|"
             r"encouraged|counseled|cautioned|reminded|warned|urged|educated|informed|asked|"
             r"reinforced)\b.{0,60}?\b(?:to (?!the\b)|not\b|should|must|needs?\b|recommend|about|regarding|on\b|"
             r"against)")
ADVICE_IN_HOSPITAL = _words(r"nurses|admi(?:t|ssion)|transfer|undergo|consent|come to the|present to|diagnos\w+")
HANDOUT = _re(r"\b(?:given|provided|received|gave)\b.{0,60}\b(?:instructions?|handouts?|sheet|"
              r"education)\b.{0,30}\b(?:wound|incision|dressing|drain|cast|care of|diet|activity|precaution)|"
              r"\bhome (?:exercise )?program\b|\b(?:wound|incision|drain|cast|"
              r"dressing)[- ](?:care )?(?:instructions?|handout|sheet)")
ORDER = _re(r"^(?:\d+[.)] ?)?(?:do not|don't|no \w+ing|avoid|keep|use|take|wear|monitor|watch|may|continue|resume|"
            r"drink|rest|apply|elevate|wash|weigh|limit|please (?!see|refer|note)\w+|leave|remove|call|return|"
            r"to (?:keep|use|avoid|continue|return|take))\b|\b(?:patient|he|she|you|they|mother|mom|"
            r"parents) (?:\w+ )?(?:is to|are to|may (?!have|be|make|represent|require)\w+|should|can|needs? to|must|"
            r"will (?:avoid|use|wear|keep|remain|take|monitor|continue to)|to (?!be\b)\w+)\b")
NO_ORDER = _words(r"transfer|discharged? (?:to|home)|prognosis|rehab potential|stable|were (?:reviewed|given|"
                  r"provided)|underst(?:and|ood)")


def patient_instructions(s: Sentence) -> bool:
    """What the patient is to do: call or return if ..., diet, activity, wound care, resume medicines, other advice."""
    if s.section == "lifestyle":
        return len(s.body) > 2 and not s.has(IN_THE_STAY) and (s.has(CONDITIONAL) or not s.has(FOLLOW_UP))
    if s.section in {"background", "findings"}:
        return False
    if s.has(CONTACT) and s.has(CONDITIONAL) and (s.ahead or s.section == "neutral") and not s.has(CONTACT_PAST):
        return True
    if s.has(OWN_MEDICINES) and (s.ahead or s.section in {"medicines", "neutral"}):
        return True
    if s.has(HANDOUT) and (s.ahead or s.has(LEAVING)):
        return True
    late = s.position > 0.4  # what is said early in the story of the stay is seldom advice for home
    about_self_care = s.has(SELF_CARE) and not s.has(PAST_STATE) and not s.has(SERVICE)
    if about_self_care and (s.section == "plan" or s.told_ahead and late):
        return True
    # Any other advice or order, unless it is one of the actions that the other functions know.
    if any(vote(s) for vote in (appointment, medication, lab, imaging, procedure, other)):
        return False
    advised = s.has(ADVICE) and not s.has(ADVICE_IN_HOSPITAL) and late
    return advised or s.section in {"plan", "followup"} and s.has(ORDER) and not s.has(NO_ORDER)


VOTERS: dict[str, Callable[[Sentence], bool]] = {
    "Patient instructions": patient_instructions, "Appointment": appointment, "Medication": medication, "Lab": lab,
    "Procedure": procedure, "Imaging": imaging, "Other": other,
}


def labels_of(text: str, spans: list[tuple[int, int]]) -> list[set[str]]:
    """The labels of each sentence `text[start:end]`; a heading without words of its own gets none."""
    return [{label for label, vote in VOTERS.items() if s.body and vote(s)} for s in read_sentences(text, spans)]
