"""Labelling functions for follow-up actions in hospital discharge summaries, one sentence at a time.

`labels_of` walks the sentences in order, keeps track of the heading each one stands under, and lets one small
function per label vote. A vote needs a topic (a visit, a test, a drug ...) and a sign that it lies after discharge:
a plan-like heading, a future or imperative form, or "pending".
"""
import re
from dataclasses import dataclass
from typing import Callable

PLAN, DIET_ACTIVITY, FOLLOW_UP = "plan", "diet and activity", "follow-up"
MEDICINES, AWAITED = "discharge medicines", "results awaited"
COURSE, FINDINGS, HISTORY = "course of the stay", "findings", "history"
PLAN_LIKE = {PLAN, DIET_ACTIVITY, FOLLOW_UP, MEDICINES}


@dataclass(frozen=True)
class Sentence:
    """One sentence with what its surroundings say about it."""
    body: str  # lower case, without heading, list number and references to other documents
    section: str  # one of the section kinds above
    position: float  # 0 at the start of the note, 1 at its end


def words(alternatives: str) -> re.Pattern[str]:
    """Compile "a|b|c", which may run over several lines, as whole words; "low-potassium" is not "potassium"."""
    joined = "".join(line.strip() for line in alternatives.splitlines())
    return re.compile(r"(?<![\w-])(?:" + joined + r")(?!\w)", re.IGNORECASE)


# ---------------------------------------------------------------- headings and sections
LIST_NUMBER = re.compile(r"^\s*(?:problem\s*)?(?:#?\d{1,2}[.):]|[-*•])\s*", re.IGNORECASE)
HEADING = re.compile(r"^([A-Za-z][A-Za-z0-9 /&,'()#-]{1,70}?)\s?:{1,2}(.*)$", re.DOTALL)
# The first kind whose pattern is found in the heading wins, so the order matters.
SECTION_KINDS: list[tuple[str, re.Pattern[str]]] = [
    (AWAITED, words(r"pending")),
    (PLAN, words(r"""
        (?:discharge|transfer)\b.*\b(?:instructions?|plans?|disposition|recommendations?)|
        (?:assessment|impression|diagnosis)\s*(?:and|/|&)\s*(?:discharge )?plan""")),
    (COURSE, words(r"course|hospitali[sz]ation(?: summary)?|summary|resume|conditions?|prognosis")),
    (HISTORY, words(r"""
        (?:medications?|meds|medicines) (?:on|at|prior to|upon) (?:admission|home|presentation)|
        (?:home|current|admission|outpatient|preadmission) (?:medications?|meds|medicines)""")),
    (MEDICINES, words(r"""
        (?:discharge|new|transfer)\b.*(?:medications?|meds|medicines|prescriptions?)|
        (?:medications?|meds|medicines)\b.*\b(?:on|at|upon|for) (?:discharge|transfer)|
        (?:medications?|medicines) prescribed|prescriptions?""")),
    (FINDINGS, words(r"""
        diagnos[ei]s|diagnostic\w*|findings|laborator\w+|data|vitals?|signs|physical|exam|examination|impression|
        consultations?|consults?|procedures?|operations?|surgery|x-?rays?|weight|imaging|radiology|complications?|
        studies|problems?|axis|goals?|labs?(?! (?:ordered|pending))""")),
    (FOLLOW_UP, words(r"follow[- ]?ups?|appointments?|f/u|return visits?")),
    (DIET_ACTIVITY, words(r"diet|activit(?:y|ies)|restrictions?|limitations?|wound care|weight[- ]?bearing")),
    (PLAN, words(r"""
        instructions?|plans?|disposition|recommendations?|advice|aftercare|continuing care|tests? ordered|
        labs? ordered|return precautions|services""")),
    (HISTORY, words(r"history|hpi|pmh|psh|allerg\w+|complaints?|reasons?|review of systems|admission|immunizations?")),
]
# A pointer to another document ("please see Dr. X's consultation note") asks for nothing.
REFERENCE = re.compile(
    r"\b(?:see|refer to)(?: [\w.'/&-]+){0,6}? (?:notes?|h&p|chart|records?|dictat\w+|details?|attached|separate|summary"
    r"|consultations?|hospital course)\b")

# ---------------------------------------------------------------- signs that something lies after discharge
PEOPLE = r"(?:patient|pt\.?|he|she|they|mother|mom|father|parents?|family|husband|wife|son|daughter|you)"
FUTURE = words(rf"""
    will|must|please|needs|(?:patient|you|they) needs? to|yet to|
    (?:is|are) (?:also |now |still |therefore |then )?(?:supposed |going )?to|
    (?:may|would|might) (?:need|benefit|require)|(?<!had )(?<!was )(?<!were )to be (?:done|drawn|seen|\w+ed)|
    (?:i|we)(?: would|'d)? recommend|can be arranged|
    ha(?:s|ve) (?:an? |his |her |scheduled )*(?:follow-?up )?appointments?|no (?:heavy )?(?:lifting|driving)|
    (?:may|ok(?:ay)? to|can) (?:shower|drive|return|resume|bathe|walk)|
    discharged?\b.{{0,40}}? (?:with|on)(?: \w+){{0,2}}? (?:home|hospice|oxygen|\S*diet)|
    arrangements (?:were|have been|are) made|
    (?:is|are) (?:also )?(?:scheduled|instructed|advised|encouraged|asked|recommended)|
    (?:the )?{PEOPLE} to (?=follow|keep|contact|call|undergo|continue|return|take|have|see|increase|wear|be|complete|
    resume|remain|use|avoid)|discharged?.{{0,60}}? to (?:follow|see|return|continue|take|complete|be)|
    with (?:follow[- ]?up|instructions)""")
ADVICE = words(r"""
    instructed|instructions? (?:for|about|regarding|on)|handout|advised|recommend(?:s|ed|ations?)?|encouraged|told|
    asked|cautioned|counsell?ed|educated|reminded|referred|scheduled|arranged|arrangements?|
    plan(?:s|ned)? (?:is |was )?(?:to|for)|(?:has|have|was) (?:also )?been made|was made|reviewed with""")
SHOULD = words(r"should(?! be noted)")
PERMISSION = words(r"may|can|ok(?:ay)? to|would|try")
TOLD_PATIENT = re.compile(
    rf"\b{PEOPLE}\b.{{0,30}}? (?:was|were|has been|have been) (?:also |then )?(?:instructed|advised|told|counsell?ed"
    r"|encouraged|asked|reminded|cautioned)")
OUTPATIENT = words(r"(?:as an|in the|on an?) out-?patient(?: setting| basis)?|(?:after|following|post) ?-?discharge")
LEAVING = words(r"(?:up)?on discharge|at discharge|discharged?\b|sent home|for discharge|goes home")
IMPERATIVE = re.compile(
    r"^(?:please |also,? |and |then |to ){0,3}(?:follow(?:ing)?[- ]?up|follow|f/u|return|call|continue|resume|take"
    r"|stop|hold|avoid|keep|re-?check(?:ing)?|repeat|check|schedule|obtain|increase|decrease|taper|do not|don't"
    r"|wear|use|complete|finish|restart|discontinue|start|begin|monitor|see|contact|consider|make|arrange|change"
    r"|elevate|report|notify|refer|recommend|limit|drink|eat|shower|weigh|consult|reconsult)\b")
NOT_NEEDED = words(r"""
    no (?:further |additional |other )?(?:follow[- ]?up|visits?|appointments?|therapy|treatment|work-?up|testing)|
    (?:no|any) longer needs?|no longer need|(?:does|did|do|will) not (?:need|require|want)|declin\w+|refus\w+|
    not (?:needed|required|indicated|necessary)""")
PENDING = words(r"pending|(?:not|n't) (?:yet )?(?:back|available|returned)|await(?:ing|s)?|outstanding|still out")
TELLS_THE_PAST = words(r"""
    was|were|had|has been|have been|did|denie[sd]|appears|states|developed|improved|showed|revealed|
    (?<!as )tolerated|tolerating|comfortable with|presented|underwent|received|continued|decided|felt|thought""")

# ---------------------------------------------------------------- topics
CLINICIAN = (
    r"dr\b\.?|doctors?|physicians?|m\.?d\b\.?|pcp|primary(?: care)?(?: doctor| provider| physician)?|providers?"
    r"|surgeons?|\w*pediatric\w*|practitioners?|\w+ologists?|\w+ology|\w*psychiatr\w+|podiatr\w+|orthop\w+"
    r"|\w*surgery|ent|ob/?gyn|obstetric\w*|therapists?|specialists?|internist|dentist|clinics?|office|cent(?:er|re)"
    r"|me|us|myself|gi|renal|transplant")
TIME_AHEAD = (
    r"(?:in|within|after)(?: [\w/-]+){0,6}? (?:days?|weeks?|months?|years?|wks?)|next (?:week|month|\w+day)|tomorrow"
    r"|(?:on|this|the following) (?:mon|tues|wednes|thurs|fri|satur|sun)day|(?:on|by) \d{1,2}[/-]\d{1,2}|as scheduled")
STITCHES = "(?:staples?|sutures?|stitches|clips)"
VISIT = words(rf"""
    follow(?:s|ing)?[- ]?up|followups?|f/u|(?:re-?)?appointments?|office visits?|return visit|
    {STITCHES}(?: \w+){{0,5}}? (?:removed|removal|out)|remov(?:al|e|ing)(?: \w+){{0,4}}? {STITCHES}|checkups?|
    postop(?:erative)? (?:visit|check)|follow (?:closely )?with|(?:plans? for|scheduled for) (?:re)?admission|(?:be|
    get) (?:\w+ )?(?:seen|followed|re-?evaluated|re-?checked|re-?assessed)(?: again| back| closely| up)*(?: (?:by|in|
    at|with|on|as|for|next|tomorrow|after))?|(?:i|we) will (?:\w+ )?see|establish(?:ing)? (?:\w+ )?care|
    find a (?:primary|doctor|physician|pcp)|(?:see|visit|return (?:back )?to(?: see)?|(?:come|go|
    report) (?:back )?to|check(?:ing)? (?:back )?with|re-?check with|referr(?:al|
    ed) to)(?: [\w,'/-]+\.?){{0,5}}? (?:{CLINICIAN})|(?:return|come back|be back|re-?check(?:ing)?|seen|see (?:him|
    her|me|the patient))(?: [\w,'/-]+){{0,9}}? (?:{TIME_AHEAD})""")
# A visit that only dates something else ("until his followup", "before her next appointment") is not arranged here,
# and to follow up a result is not to see somebody.
VISIT_AS_DATE = re.compile(
    r"\b(?:until|prior to|before)(?: \w+){0,9}? (?:follow-?up|appointment|visit)\b|\bfollow(?:ed)?[- ]?up (?:on |of )?"
    r"(?:the |his |her |final |pending |any ){1,3}(?:labs?|culture|patholog|result|biops)"
    r"|\bfollow[- ]?up (?:chest )?(?:ct|mri|x-?ray|echo|ultrasound|scan|imaging|films?|labs?)\b")
CLINICIAN_OR_TIME = words(rf"{CLINICIAN}|{TIME_AHEAD}")
LAB_TEST = words(r"""
    labs?|lab ?work|laborator\w+|blood ?(?:work|tests?|draws?|counts?)|cbc|bmp|cmp|inrs?|pt/inr|protimes?|tsh|t4|
    hemoglobin|hematocrit|h&hs?|creatinine|bun|potassium(?! chloride)|electrolytes|lfts?|ast|alt|
    liver (?:function|enzymes?|tests?)|lipids?|(?:hgb )?a1c|levels?(?! of)|cultures?|patholog(?:y|ic)|sensitivities|
    biops(?:y|ies) (?:results?|reports?)|results? of (?:the )?biops(?:y|ies)|cytolog\w+|serolog\w+|titers?|
    urinalysis|psa|panel|amylase|lipase|ppd|chem(?:istry|istries|-?7)|bilirubin|platelets?|
    (?:stool|urine) (?:studies|sample|test)|newborn screen\w*|hepatitis \w* ?(?:panel|serologies)""")
IMAGING_TEST = words(r"""
    x-?rays?|films?|radiographs?|ct(?: scans?)?|cat scans?|mri|mra|ultrasounds?|echo(?:cardiograms?|cardiography|s)?|
    scans?|mammogram\w*|dopplers?|imaging|pet(?:[/-]ct)?|
    (?:nuclear|thallium|cardiolite|adenosine|persantine)(?: \w+){0,2}? (?:test|study|scan)|
    small bowel follow[- ]through|barium \w+|cystogram|\w*swallow (?:study|evaluation)""")
DEVICE = r"(?:staples?|sutures?|stitch(?:es)?|catheter|foley|drains?|tubes?|stents?|cast|pins?|packing|picc)"
PROCEDURE = words(rf"""
    \w*colonoscop\w+|\w*endoscop\w+|egd|ercp|catheteri[sz]ation|cardiac cath|angiogra(?:m|phy)|bronchoscop\w+|
    cystoscop\w+|biops(?:y|ies)(?! (?:results?|reports?))|(?:further|elective|future|planned|scheduled|repeat|
    definitive|undergo|for|have|needs?)(?: \w+){{0,2}}? (?:surgery|operation|repair|resection)|\w{{3,}}ectomy|
    \w{{4,}}plasty|dialysis|transfusions?|bone marrow|radiation(?: therapy| treatments?)?|chemotherapy|
    (?:exercise )?stress test(?:ing)?|e[ck]gs?|eegs?|emgs?|event monitor|sleep study|polysomnogra\w+|
    pulmonary function tests?|pfts?|hearing (?:test|screen)|lumbar puncture|\w+centesis|
    {DEVICE}(?: \w+){{0,3}}? (?:removal|removed|out)|remov(?:al|e|ing)(?: of)?(?: \w+){{0,4}}? {DEVICE}""")
# "after surgery", "recent circumcision", "concerns about the operation": the procedure lies behind.
PROCEDURE_DONE = re.compile(
    r"\b(?:after|status[- ]post|s/p|recent|regarding|results? of|history of)\b[^,;.]*?(?=,|;|\.|\bfor\b|$)")
TEST_TO_DO = words(r"""
    re-?check\w*|repeat\w*|check(?:ed|s|ing)?|drawn?|obtain\w*|ha(?:ve|s)|monitor\w*|follow\w*|need\w*|require\w*|
    undergo|get|schedul\w+|arrang\w+|recommend\w*|for|with|to be done|order\w*|consider\w*|return|weekly|should|
    remov\w+|perform\w*|plan\w*|about|await|out-?patient|will be""")
CHECK_VERB = words(r"re-?check\w*|repeat|check(?:ed|s)?|drawn?|monitor(?:ed)?|weekly")
DRUG = words(r"""
    \d* ?m?c?g|units?|tab(?:let)?s?|cap(?:sule)?s?|puffs?|drops?|p\.?o\b\.?|iv|[btq]\.?i\.?d\b\.?|antibiotics?|
    steroids?|medications?|medicines?|meds|dos(?:e|es|age)|insulin|spray|ointment|cream|inhaler|nebuli[sz]er\w*|
    anticoagula\w+|\w+(?:cillin|mycin|micin|floxacin|azole|pril|olol|statin|sone|solone|sartan|cycline|vir|tidine|
    mab|parin|zepam|zolam|triptan|dipine|oxetine|thiazide|semide|gliptin|formin|codone|profen|codeine)|cef\w+|plavix|
    clopidogrel|coumadin|warfarin|aspirin|lovenox|lasix|keflex|levaquin|cipro|bactrim|augmentin|prozac|zoloft|paxil|
    digoxin|toprol|nsaids?|motrin|vicodin|percocet|neurontin|methotrexate|iron|zithromax|ace inhibitors?|
    beta[- ]blockers?|diuretics?|amiodarone""")
NUMBER = r"(?:\d+|one|two|three|four|five|six|seven|eight|nine|ten|twelve|fourteen|several|few)"
PERIOD = r"(?:days?|weeks?|months?|wks?|doses?)"
COURSE_LENGTH = words(rf"""
    (?:x|times|for)(?: \w+){{0,3}}? ?{NUMBER}(?: ?(?:-|to|or) ?{NUMBER})?[ -]?(?:more |additional |full )?{PERIOD}|
    for (?:a|another) {PERIOD}|x ?{NUMBER} ?(?:d|{PERIOD})|
    {NUMBER}[ -](?:days?|weeks?|months?) (?:course|supply|taper)|{NUMBER} (?:more|weeks?) (?:{PERIOD}|\d+ mg)|until|
    (?:complete|finish)\w*(?: [\w,./-]+){{0,9}}? (?:course|days?|antibiotics?|therapy|doses?|dosages?)|through \d|
    last dose|then \d+ ?mg|for the next|(?:then|and) (?:stop|discontinue|off)""")
DOSE_CHANGE = words(r"""
    taper\w*|wean|hold|holding|on hold|(?<!was )(?<!were )(?<!been )held|discontinu(?:e|ing)|stop(?: taking)?|
    restart|(?:is|are)(?: \w+)? (?:being )?(?:held|discontinued|stopped)|
    (?:do|will|should|does)(?: not|n't) (?:re-?start|take|resume|give)|not to take|(?:to|should|will|must|can|
    may) be (?:\w+ )?(?:held|discontinued|stopped|restarted|resumed|increased|decreased|tapered|adjusted)|titrate|
    increas(?:e|ing)|decreas(?:e|ing)|reduc(?:e|ing)|
    (?:increased|decreased|reduced|changed)(?: \w+){0,4}? (?:to|from)|switch|adjust(?:ed)?|
    change (?:in|to|his|her|the)|instead of|(?:will|to)(?: \w+)? (?:start|begin|try|add)(?: \w+)?|
    be(?:gin)? (?:started )?on""")
WHOLE_COURSE = words(r"(?:complete|finish)\w*(?: [\w-]+){0,4}? course")
# "No driving until you are off pain medicines" limits the driving, not the medicines.
NOT_TO_DO = re.compile(r"\b(?:no|not)(?: to)?(?: \w+)? (?:driv|lift|immerse|soak|swim|bath|strenuous)")
DRUG_CHANGED = words(r"""
    (?:was|were|has been|have been)(?: \w+)? (?:discontinued|stopped|held|tapered|(?:increased|decreased|
    reduced) (?:to|from))""")
DRUG_STOPPED_NOW = words(r"(?:is|are)(?: \w+)? (?:being )?(?:held|discontinued|stopped|on hold)|currently on")
HOME_MEDICINES = words(r"""
    (?:resume|continue)(?: \w+){0,4}? (?:home|regular|usual|same|previous|prior|pre-?admission|current|all|present|
    outpatient)(?: \w+){0,3}? (?:medications?|meds|medicines|therapy|regimen)|
    medic(?:ation|ine)s as (?:prescribed|directed|before)|(?:take|continue)(?: taking)?(?: all)?(?: of)? (?:his|her|
    your|the|their|all)(?: \w+)? (?:medications?|meds|medicines)""")
DAILY_LIFE = words(r"""
    \S*diet|activit(?:y|ies)|as tolerated|lift(?:ing)?|driv(?:e|ing)|shower\w*|bath(?:e|es|ing|s)?|immerse|soak\w*|
    swim\w*|weight[- ]?bear(?:ing)?|non-?weight-?bearing|ambulate|bed ?rest|pelvic rest|intercourse|exercises|
    to exercise|(?:water|home|breathing) exercise|walker|walking|crutches|
    (?:wounds?|site|incision|cast|cord|skin|foot|sheath) care|sexual|dressings?|
    (?:keep|wash|clean|cover)(?: \w+){0,4}? (?:clean|dry|wounds?|incisions?|area)|elevate|
    keep(?:ing)?(?: \w+){0,4}? elevated|ice|sitz baths?|smok(?:e|ing)|alcohol|
    (?:drink|push|extra|plenty of|oral|clear)(?: \w+)? (?:fluids?|liquids)|fluid restriction|salt|
    (?:return|back|go) to (?:work|school)|off work|\w*restrictions?|precautions|brace|sling|splint|\S*stockings?|
    cpap|(?:check|monitor|record|measure)\w*(?: \w+){0,4}? (?:sugars?|glucose|pressures?|weights?|temperature)|
    weigh (?:yourself|himself|herself)|daily weights?|finger-?sticks?|accu-?checks?|breast-?feed\w*|
    (?:continue|bottle) feeding|formula|strenuous|stairs|spirometer|hand wash\w*|cpm|home activities|douch\w+|avoid|
    limit|blood glucose""")
WARNING = words(r"""
    (?:(?<!on )call|contact|notify|phone|alert|report)\b.{0,120}?(?:\bif|for (?:any|further|temp|fever|increas|
    worsen|new|recurr|problem|question|concern)\w*|with (?:any|questions|concerns|problems)|should (?:he|she|they|
    there|the|any)|in the event)|(?:return|come back|go|present|be brought|bring|see(?! if)|
    seen sooner)\b.{0,80}?(?:\bif|for any|with any|in the event|should (?:he|she|they|there))|
    (?:if|should (?:he|she|they|there|any))\b.{0,160}?\b(?:call|contact|notify|return|come back|seek|go to)|
    (?:seek|get) (?:immediate )?medical (?:attention|care|help)|return to (?:the )?(?:er|ed|emergency)|watch for|
    (?:check|look|monitor|watch)\b.{0,40}?\b(?:bleeding|signs of|for any|fevers?)|
    talk to(?: \w+){0,4}? (?:doctor|physician|provider)|call me|be seen sooner""")
SERVICE = words(r"""
    home (?:health|care|nursing|nurse|oxygen|o2|hospice|physical|occupational|pt|ot|therapy|iv|infusion)|
    visiting nurses?|vna|hospice|(?:physical|occupational|speech|respiratory|family|group|outpatient|pulmonary|
    cardiac) (?:therapy|therapist|rehab\w*|sessions?|care)|skilled nursing (?:care|services|visits?|come)|
    (?:undergo|continue|receive|participate in)(?: \w+){0,4}? rehab\w*|pt/ot|pt and ot|
    social (?:work|services?|worker)|case manage\w+|
    (?:dietary|nutrition|diabetic|wound care|psychiatric|ostomy) (?:consult\w*|evaluation|teaching)|dieti[tc]ian|
    consults|(?:obtain\w*|consider\w*|for)(?: \w+){0,3}? consult|durable medical equipment|oxygen(?! sat)|oximetry|
    counsell?ing|support groups?|nurs(?:e|es|ing) (?:will|visits?|services?)|continue (?:\w+ )?treatment|
    with services|re-?consult|agency|vaccin\w+|group sessions?""")
UNSPECIFIED_WORKUP = words(r"(?:further|additional|out-?patient) (?:work-?up|testing|evaluation|studies)|work-?up")
# "This can be arranged by her doctor" is about the test of the sentence before.
POINTS_BACK = re.compile(
    r"^(?:this|these|it|that) (?:can|will|should|may|is to|are to|needs? to|could) (?:also )?be (?:arranged|done"
    r"|scheduled|followed|checked|re-?checked|performed|repeated|ordered)")


# ---------------------------------------------------------------- reading the note
def section_kind(heading: str, position: float) -> str:
    """Sort a heading into one of the section kinds; an unknown heading counts as the course of the stay."""
    if re.fullmatch("medications?|meds|medicines", heading):  # early lists are what the patient came with
        return MEDICINES if position > 0.5 else HISTORY
    return next((kind for kind, pattern in SECTION_KINDS if pattern.search(heading)), COURSE)


def split_heading(text: str) -> tuple[str, str]:
    """Split a sentence into its heading ("" when it has none) and its body, both without a list number."""
    text = LIST_NUMBER.sub("", text.strip())
    match = HEADING.match(text)
    if match:
        heading, body = match.groups()
        known = any(pattern.search(heading) for _, pattern in SECTION_KINDS)
        if heading.isupper() or (known and len(heading.split()) <= 5):
            return heading.lower().strip(), body
    elif 3 < len(text) < 70 and text.isupper() and not re.search(r"\d", text):
        return text.lower().strip(". "), ""
    return "", text


def read_sentences(text: str, spans: list[tuple[int, int]]) -> list[Sentence]:
    """Attach to every sentence the section that it stands in."""
    sentences, section = [], COURSE
    for start, end in spans:
        position = start / max(1, len(text))
        heading, body = split_heading(text[start:end])
        if heading:
            section = section_kind(heading, position)
        kind = COURSE if section == HISTORY and position > 0.6 else section  # notes that never open a new section
        body = " ".join(LIST_NUMBER.sub("", body).lower().split())
        sentences.append(Sentence(REFERENCE.sub("", body), kind, position))
    return sentences


def lies_ahead(s: Sentence) -> bool:
    """Does the sentence ask for, arrange or announce something, rather than tell what happened in the stay?"""
    if s.section == HISTORY or (NOT_NEEDED.search(s.body) and not OUTPATIENT.search(s.body)):
        return False
    advised, told_past = ADVICE.search(s.body), TELLS_THE_PAST.search(s.body)
    future, should = FUTURE.search(s.body), SHOULD.search(s.body)
    if s.section in PLAN_LIKE:
        permitted = PERMISSION.search(s.body) or LEAVING.search(s.body)
        return bool(future or should or advised or permitted or not told_past)
    # Outside the plan, "it was felt that he should have a scan" is usually about the stay.
    if future or (should and (not told_past or OUTPATIENT.search(s.body))):
        return True
    if IMPERATIVE.match(s.body) and not told_past:
        return s.section == COURSE or s.position > 0.6
    if OUTPATIENT.search(s.body) and not re.match("follows|(?:he|she|the patient) follows", s.body):
        return bool(advised or " to " in s.body)
    return bool((advised and s.position > 0.6) or (TOLD_PATIENT.search(s.body) and s.position > 0.3))


# ---------------------------------------------------------------- one vote per label
def votes_appointment(s: Sentence) -> bool:
    """A visit arranged or advised; "return if ..." and "his labs will be followed" are not visits."""
    if not lies_ahead(s):
        return False
    body = WARNING.sub(" ", VISIT_AS_DATE.sub(" ", s.body))
    with_whom_or_when = CLINICIAN_OR_TIME.search(body)
    about_a_test = LAB_TEST.search(body) or IMAGING_TEST.search(body) or POINTS_BACK.match(body)
    if s.section == FOLLOW_UP and with_whom_or_when and body == s.body:  # there "Dr. Y in one week" is enough
        return bool(VISIT.search(body)) or not (about_a_test or DAILY_LIFE.search(body) or re.search(r"\bmg\b", body))
    return bool(VISIT.search(body)) and bool(with_whom_or_when or not about_a_test)


def votes_test(s: Sentence, tests: re.Pattern[str]) -> bool:
    """A test of the given kind whose result is pending, or which is to be made after discharge."""
    if not tests.search(s.body) or s.section == HISTORY:
        return False
    if PENDING.search(s.body) or s.section == AWAITED:
        return True
    # In a medicine list "potassium" is a tablet.
    to_do = CHECK_VERB if tests is LAB_TEST and s.section == MEDICINES and not FUTURE.search(s.body) else TEST_TO_DO
    return lies_ahead(s) and bool(to_do.search(s.body))


def votes_lab(s: Sentence) -> bool:
    """A laboratory or pathology result pending, or a specimen to be taken after discharge."""
    return votes_test(s, LAB_TEST)


def votes_imaging(s: Sentence) -> bool:
    """A film or scan pending, or to be made after discharge."""
    return votes_test(s, IMAGING_TEST)


def votes_procedure(s: Sentence) -> bool:
    """An operation, endoscopy, stitch or tube removal, or functional test to be done after discharge."""
    body = WARNING.sub(" ", PROCEDURE_DONE.sub(" ", s.body)) if "talk to" not in s.body else s.body
    body = IMAGING_TEST.sub(" ", body)
    return bool(PROCEDURE.search(body)) and lies_ahead(s) and bool(TEST_TO_DO.search(body))


def votes_medication(s: Sentence) -> bool:
    """A drug course with an end, a taper, a hold, a stop, a start or a change of dose."""
    drug_by_place = s.section == MEDICINES and not VISIT.search(s.body)
    if not (drug_by_place or DRUG.search(s.body) or WHOLE_COURSE.search(s.body)) or NOT_TO_DO.search(s.body):
        return False
    if s.section in PLAN_LIKE and DRUG_CHANGED.search(s.body):
        return True
    if DRUG_STOPPED_NOW.search(s.body) and s.section != HISTORY and s.position > 0.3:
        return bool(DOSE_CHANGE.search(s.body) or COURSE_LENGTH.search(s.body))
    return lies_ahead(s) and bool(COURSE_LENGTH.search(s.body) or DOSE_CHANGE.search(s.body))


def votes_patient_instructions(s: Sentence) -> bool:
    """Diet, activity, self-care, "call or return if", or "continue your medicines"."""
    if WARNING.search(s.body) and (lies_ahead(s) or (s.position > 0.6 and s.section != HISTORY)):
        return True
    if not lies_ahead(s):
        return False
    if s.section == DIET_ACTIVITY:  # "Regular", "As tolerated"; but a visit may slip in under the same heading
        return not any(votes(s) for votes in (votes_appointment, votes_other, votes_lab, votes_imaging))
    return bool(DAILY_LIFE.search(s.body)) or (bool(HOME_MEDICINES.search(s.body)) and not votes_medication(s))


def votes_other(s: Sentence) -> bool:
    """Services, therapy, consults, equipment, hand-over to an agency, or a work-up not further described."""
    if not lies_ahead(s):
        return False
    if SERVICE.search(s.body):
        return "exercises" not in s.body
    return bool(UNSPECIFIED_WORKUP.search(s.body)) and not any((votes_lab(s), votes_imaging(s), votes_procedure(s)))


LABELLERS: dict[str, Callable[[Sentence], bool]] = {
    "Patient instructions": votes_patient_instructions, "Appointment": votes_appointment, "Lab": votes_lab,
    "Medication": votes_medication, "Procedure": votes_procedure, "Imaging": votes_imaging, "Other": votes_other}


def tests_named(s: Sentence) -> set[str]:
    """The kinds of test that a sentence names, whenever they were or will be done."""
    kinds = {"Lab": LAB_TEST, "Imaging": IMAGING_TEST, "Procedure": PROCEDURE}
    return {label for label, tests in kinds.items() if tests.search(s.body)}


def labels_of(text: str, spans: list[tuple[int, int]]) -> list[set[str]]:
    """The labels of each sentence `text[start:end]`."""
    sentences = read_sentences(text, spans)
    found = [{label for label, votes in LABELLERS.items() if s.body and votes(s)} for s in sentences]
    for i, s in enumerate(sentences[1:], start=1):
        if not found[i] and POINTS_BACK.match(s.body) and lies_ahead(s):
            found[i] = tests_named(sentences[i - 1])
    return found
