"""The vocabulary of follow-up: what visits, tests, drugs and services are called, and how a sentence looks ahead or back.

Between the words of a cue stands a bounded number of others (`(?: \\S+){0,5}?` over text with single spaces), and no repeat
holds another unbounded one, so a search takes time linear in the sentence.
"""

import re


def words(alternatives: str) -> re.Pattern[str]:
    """Compile "a|b|c", which may run over several lines, into whole words of any case; "low-salt" is not "salt"."""
    joined = "".join(line.strip() for line in alternatives.splitlines())
    return re.compile(rf"(?<![\w-])(?:{joined})(?!\w)", re.IGNORECASE)


_BEFORE_A_VERB = r"\A(?:(?:for|in|on|at|after|meantime|otherwise)[^,]{0,40}, )?(?:please,? |also,? |and |then |to ){0,3}"


def opening(alternatives: str) -> re.Pattern[str]:
    """The same at the beginning of a sentence only, perhaps after a phrase such as "in the meantime"."""
    return re.compile(_BEFORE_A_VERB + words(alternatives).pattern, re.IGNORECASE)


# ---- People, places and times
_CLINICIAN = r"""
    dr\b\.?|doctors?|physicians?|m\.?d\b\.?|pcp|primary|providers?|surgeons?|\w*pediatric\w*|practitioners?|\w+ologists?|
    \w+ology|\w*psychiatr\w+|podiatr\w+|orthop\w+|\w*surgery|ent|ob/?gyn|obstetric\w*|therapists?|specialists?|internist|
    dentist|clinics?|office|cent(?:er|re)|me|myself|us|gi|renal|transplant"""
_PATIENT = r"(?:patient|pt\.?|he|she|they|you|mother|mom|father|parents?|family|husband|wife|son|daughter)"
_NUMBER = r"(?:\d+|an?|one|two|three|four|five|six|seven|eight|nine|ten|twelve|fourteen|several|few|couple of)"
_PERIOD = r"(?:days?|weeks?|wks?|months?|years?)(?:'s?)?"
_LENGTH = rf"{_NUMBER}(?: ?(?:-|to|or) ?{_NUMBER})?[ -]?(?:more |additional |full )?(?:{_PERIOD}|doses?)"
_IN_TIME = rf"""
    (?:in|within|after)(?: \S+){{0,6}}? {_PERIOD}|next (?:week|month|available|\w+day)|tomorrow|(?:mon|tues|wednes|thurs|fri|
    satur|sun)day|(?:on|by) \d{{1,2}}[/-]\d{{1,2}}\S*|as scheduled"""
WHEN = words(_IN_TIME)
WHO_OR_WHEN = words(rf"{_CLINICIAN}|{_IN_TIME}|arranged|scheduled|appointments?|re-?admission|admission on")
OUTPATIENT = words(r"(?:as an|in the|on an?) out-?patient|(?:after|following|post) ?-?discharge|in the future")
AFTER_THE_STAY = words(rf"{OUTPATIENT.pattern}|out-?patient|{_IN_TIME}|clinic|office|weekly|follow[- ]?ups?|primary|at home")

# ---- Looking ahead and looking back
_TOLD = "(?:instructed|advised|told|encouraged|counsell?ed|cautioned|reminded|warned|urged|educated|asked|reinforced)"
_STOPPED = "(?:held|discontinued|stopped)"
FUTURE = words(rf"""
    will|shall|must|please|needs?(?! for)|due for|yet to|(?:is|are) (?:(?:also|now|still|then|not|only|supposed|going) )?to|
    (?:may|would|might|can) (?:need|benefit|require)|(?<!had )(?<!was )(?<!were )to be (?:re)?(?:done|drawn|seen|\w+ed)|
    ha(?:s|ve) (?:\w+ ){{0,3}}appointments?|(?:may|ok(?:ay)? to|can|allowed to) (?:shower|drive|return|resume|bathe|walk)|
    arrangements (?:were|have been|are) made|(?:is|are|ha(?:s|ve) been) (?:also )?(?:scheduled|arranged|recommended|{_TOLD})|
    {_PATIENT} to (?!the|an?|his|her|home)\w+""")
SHOULD = words(r"should(?! be noted)|would be")
ADVICE = words(rf"""
    {_TOLD}|instructions? (?:for|about|regarding|on)|handout|advise|recommend(?:s|ed|ations?)?|encourage|referred|scheduled|
    arranged|arrangements?|plan(?:s|ned)?(?: is| was)? (?:to|for)|(?:has|have|was) (?:also )?been made|was made|reviewed with""")
ADVISED_PATIENT = words(rf"""
    (?:{_PATIENT}|i|we|him|her|also|and|is|are|was|were|has|have|been)(?: \w+){{0,2}}? {_TOLD}(?: \S+){{0,8}}? (?:not to|
    to(?! the)|should|must|needs?|recommend\w*|about|regarding|on|against)""")
LEAVING = words(r"""
    (?:(?:up)?on|at|for) discharge|discharg(?:ed|ing)|discharge (?:to|home|diet)|(?:sent|go(?:es|ing)?) home|home (?:with|on)""")
_SELF_CARE = r"""
    return|call|take|stop|avoid|keep|do not|don't|wear|use|complete|finish|monitor|elevate|report|notify|limit|drink|eat|
    shower|weigh|wash|apply|rest|remove|leave|watch"""
IMPERATIVE = opening(rf"""
    {_SELF_CARE}|follow(?:ing)?[- ]?up|follow|f/u|continue|resume|hold|re-?check(?:ing)?|repeat|check|schedule|obtain|
    increase|decrease|taper|restart|discontinue|start|begin|see|contact|consider|make|arrange|change|refer|recommend|consult""")
# What a patient is told to do, in whatever words.
ORDER = words(rf"{opening(_SELF_CARE).pattern}|{_PATIENT} (?:\w+ )?(?:(?:is|are) to|should|must|may|needs? to)")
PAST = words(r"""
    was|were|had|has been|have been|did|denie[sd]|appears|states|developed|improved|showed|revealed|(?<!as )tolerated|
    tolerating|comfortable with|presented|underwent|received|continued|decided|felt|thought""")
NOT_NEEDED = words(r"""
    no (?:further |additional |other |specific )?(?:follow[- ]?up|visits?|appointments?|therapy|treatment|work-?up|testing|
    home health)|(?:no|any) longer|(?:does|did|do|will) not (?:need|require|want)|not (?:made|needed|required|indicated|
    necessary)|without (?:need|follow\w*)|declin\w+|refus\w+""")
IN_THE_STAY = words("(?:on|prior to|before) admission|yesterday|this morning|later today|today,|npo|as an in-?patient")

# ---- Tests and procedures
LAB = words(r"""
    labs?|lab ?work|laborator\w+|blood ?(?:work|tests?|draws?|counts?|cultures?)|cbc|bmp|cmp|inrs?|pt/inr|protimes?|
    prothrombin|tsh|t4|thyroid function|hemoglobin|hgb|hematocrit|h&hs?|creatinine|bun|potassium(?! chloride)|electrolytes?|
    lfts?|ast|alt|liver (?:function|enzymes?|tests?)|lipids?|a1c|levels?(?! of)|cultures?|patholog(?:y|ic)|sensitivit\w+|
    susceptibilit\w+|biops(?:y|ies) (?:results?|reports?)|results? of (?:the )?biops(?:y|ies)|cytolog\w+|serolog\w+|
    microbiolog\w+|titers?|pcr|antibod(?:y|ies)|specimens?|chlamydia|gonorrhea|amylase|lipase|stains?|urinalysis|ua|psa|panel|
    chem(?:istry|istries|-?\d+)|bilirubin|platelets?|(?:stool|urine) (?:studies|sample|test)""")
IMAGING = words(r"""
    x-?rays?|films?|radiographs?|ct|cat scans?|mri|mra|ultrasounds?|sonograms?|echo(?:cardiogra\w+|s)?|scans?|mammogra\w+|
    dopplers?|duplex|dexa|imaging|pet(?: scan|[/-]ct)|(?:nuclear|thallium|cardiolite|adenosine|
    persantine)(?: \w+){0,2}? (?:test|study|scan)|flat plate|small bowel follow[- ]through|barium \w+|upper gi series|
    cystogram|\w*swallow(?:ing)? (?:study|evaluation)""")

_STITCHES = "(?:staples?|sutures?|stitch(?:es)?|clips)"
_DEVICE = rf"(?:{_STITCHES}|catheter|foley|drains?|tubes?|stents?|cast|pins?|hardware|picc|port)"


def _removal(of: str) -> str:
    return rf"{of}(?:(?: \S+){{0,8}}? remov(?:al|ed)|(?: \w+){{0,3}}? (?:out|changed?))|remov(?:al|e|ing)(?: \w+){{0,5}}? {of}"


PROCEDURE = words(rf"""
    \w*colonoscop\w+|\w*endoscop\w+|sigmoidoscop\w+|\w*stroboscop\w+|colposcop\w+|egd|ercp|catheteri[sz]ations?|cardiac cath|
    angiogra(?:m|phy)|bronchoscop\w+|cystoscop\w+|biops(?:y|ies)(?! (?:results?|reports?))|(?:further|elective|future|planned|
    scheduled|repeat|definitive|undergo|for|have|needs?)(?: \w+){{0,2}}? (?:surgery|operation|repair|resection)|
    \w{{3,}}ectomy|\w{{4,}}(?:plasty|otomy)|pacemaker|dialysis|transfusions?|bone marrow|radiation(?: therapy| treatments?)?|
    chemotherapy|(?:exercise )?stress test(?:ing)?|e[ck]gs?|eegs?|emgs?|holter|event monitor|sleep study|polysomnogra\w+|
    pulmonary function tests?|pfts?|hearing (?:test|screen)|audiolog\w+|voiding trial|lumbar puncture|\w+centesis|
    {_removal(_DEVICE)}""")
PROCEDURE_DONE = re.compile(
    r"\b(?:after|status[- ]post|s/p|recent|regarding|results? of|history of)\b[^,;.]{0,160}?(?=,|;|\.|\bfor\b|$)", re.IGNORECASE
)
POINTS_BACK = opening(r"""
    (?:this|these|it|that) (?:can|will|should|may|could|is to|are to|needs? to) (?:also )?be (?:arranged|done|scheduled|
    followed|checked|re-?checked|performed|repeated|ordered)""")
# After the name of a test: its result.
TEST_DONE = re.compile(
    r"(?: at (?:the time of )?discharge)?(?: \S+){0,2}? (?:was|were|had|showed|revealed|of \d)\b", re.IGNORECASE
)
PENDING = words(r"""
    pending|(?:not|n't|never|neither)(?: \w+){0,3}? (?:back|available (?:at|as of|yet)|returned|result(?:ed)?|finalized)|
    (?:yet to|will) return|will be back|await(?:ing|s|ed)?|outstanding|still out""")
NOT_A_RESULT = words(r"""
    pending (?:discharge|placement|transfer|insurance|approval|bed|clinical|evaluation|further)|(?:placement|charges|
    litigation|insurance|approval)(?: is| are)?(?: still)? pending|(?:none|no)\Z""")

# ---- Visits
_BACK = r"(?:return|come back|be back|re-?check(?:ing)?|seen|see (?:him|her|me|us|the patient)|come in)"
FOLLOW_UP = words("follow(?:s|ing|ed)?[- ]?ups?|f/u|(?:re-?)?appointments?|(?:office|clinic|return) visits?|checkups?")
VISIT = words(rf"""
    {_removal(_STITCHES)}|follow (?:closely )?(?:with|as)|(?:plans?|scheduled) for (?:re)?admission|(?:be|get|
    been) (?:\w+ )?(?:seen|followed|re-?evaluated|re-?checked|re-?assessed)(?: again| back| closely| up){{0,2}}(?: (?:by|in|
    at|with|on|as|for|next|tomorrow|after))?|(?:i|we) will (?:\w+ )?see|find a (?:primary|doctor|physician|pcp)|(?:see|visit|
    return (?:back )?to(?: see)?|(?:come|go|report) (?:back )?to|check(?:ing)? (?:back )?with|re-?check with|referr(?:als?|
    ed) (?:for|to)) (?:\S+ ){{0,5}}?(?:{_CLINICIAN})|referred (?:\w+ ){{0,2}}?to|{_BACK}(?: \S+){{0,9}}? (?:{_IN_TIME})""")
# What only dates something else ("until her follow-up"), and the follow-up of a result, are no visits.
_RESULT = rf"(?:{LAB.pattern}|{IMAGING.pattern}|results?|biops\w+|colonoscopy)"
NO_VISIT = words(rf"""
    (?:until|prior to|before|after)(?: \w+){{0,9}}? (?:follow-?up|appointment|visit|sees? \w+)|follow(?:ed)?[- ]?up (?:on |
    of )?(?:(?:the|his|her|your|any|all|final|pending|repeat|chest) ){{0,3}}{_RESULT}|(?:{_RESULT}|this|these|which|that|
    it)(?: \S+){{0,6}}? be (?:\w+ )?followed(?: up)?(?! by)""")

# ---- Drugs
DRUG = words(r"""
    (?:\d+ ?)?(?:m?c?g|meq)|units?|tab(?:let)?s?|cap(?:sule)?s?|puffs?|drops?|p\.?o\b\.?|iv|[btq]\.?i\.?d\b\.?|antibiotics?|
    steroids?|medications?|medicines?|meds|narcotics?|dos(?:e|es|age|ages)|insulin|spray|ointment|cream|inhaler|
    nebuli[sz]er\w*|anticoagula\w+|(?:complete|finish)\w*(?: \S+){0,4}? course|\w+(?:cillin|mycin|micin|floxacin|azole|pril|
    olol|statin|sone|solone|sartan|cycline|vir|tidine|mab|parin|zepam|zolam|triptan|dipine|oxetine|thiazide|semide|gliptin|
    formin|codone|profen|codeine)|cef\w+|plavix|clopidogrel|coumadin|warfarin|aspirin|lovenox|lasix|keflex|levaquin|cipro|
    bactrim|augmentin|flagyl|digoxin|nsaids?|motrin|medrol|decadron|taking|ace inhibitors?|beta[- ]blockers?|diuretics?|
    amiodarone""")
COURSE = words(rf"""
    (?:x|times(?! an?\b)|for|over|another|additional|remaining)(?: \w+){{0,3}}? ?{_LENGTH}|x ?\d+ ?(?:d|{_PERIOD})|
    {_LENGTH} (?:course|supply|taper|worth)|{_NUMBER} (?:more|additional|remaining)(?: \w+)? (?:{_PERIOD}|doses?)|until|
    (?:complete|finish)\w*(?: \S+){{0,9}}? (?:course|days?|antibiotics?|therapy|doses?|dosages?)|course of|through \d\S*|
    (?:then|and) (?:stop|discontinue|off|decrease|reduce)""")
CHANGE = words(rf"""
    taper\w*|wean|hold|holding|on hold|(?<!was )(?<!were )(?<!been )held|discontinu(?:e|ing)|stop(?:ping)?|restart|titrate|
    (?:do|will|should|does)(?: not|n't) (?:re-?start|take|resume|give)|not to take|be (?:\w+ )?(?:{_STOPPED}|restarted|
    resumed|increased|decreased|tapered|adjusted)|(?:increas|decreas|reduc)(?:e|ing)(?! \w* ?(?:pain|redness|swelling|
    drainage|fever|short\w+|sympt\w+|fiber|fluids?))|(?:increased|decreased|reduced|changed)(?: \w+){{0,4}}? (?:to|from)|
    switch|adjust(?:ed)?""")
CHANGED_IN_STAY = words(rf"""
    (?:was|were|has been|have been)(?: \w+)? (?:{_STOPPED}|tapered|(?:increased|decreased|reduced) (?:to|from))""")
HELD_NOW = words(rf"(?:is|are)(?: \w+)? (?:being )?(?:{_STOPPED}|on hold)")
OWN_MEDICINES = words(r"""
    (?:resum(?:e|ing)|continu(?:e|ing)|take|restart)(?: \S+){0,7}? (?:medications?|medicines?|meds|home drugs|regimen)|
    (?:continue|resume) (?:present|current|same|home) therapy|medic(?:ation|ine)s as (?:prescribed|directed|before)""")

# ---- What the patient is to do
DAILY_LIFE = words(r"""
    (?:[\w-]+-)?diet|activit(?:y|ies)|as tolerated|lift(?:ing)?|driv(?:e|ing)|shower\w*|bath(?:e|es|ing|s)?|immerse|soak\w*|
    swim\w*|(?:non-?)?weight[- ]?bear(?:ing)?|ambulat(?:e|ing|ion)|(?:bed|pelvic|at) ?rest|intercourse|sexual|exercises|
    (?:water|home|breathing) exercise|walker|walking|crutches|stairs|strenuous|(?:wounds?|site|incision|cast|skin|foot|
    drain) care|dressings?|(?<!is )(?<!are )(?:keep|wash|clean|cover|wear)(?: \w+){0,4}? (?:clean|dry|wounds?|incisions?|area|
    shoe)|elevate|keep(?:ing)?(?: \w+){0,4}? elevated|ice|smok(?:e|ing)|alcohol|(?:drink|push|extra|plenty of|oral|
    clear)(?: \w+)? (?:fluids?|liquids)|fluid (?:restriction|intake)|salt|(?:return|back|go) to (?:work|school)|restrictions?|
    precautions|brace|sling|splint|stockings?|cpap|(?:check|monitor|record|measure)\w*(?: \w+){0,4}? (?:sugars?|glucose|
    pressures?|weights?|temperature)|blood glucose|weigh (?:yourself|himself|herself)|daily weights?|finger-?sticks?|
    accu-?checks?|breast-?feed\w*|(?:continue|bottle) feeding|formula|hand wash\w*|home (?:activities|(?:exercise )?program)|
    avoid|limit""")
NOT_TO_DO = words(r"(?:no|not)(?: to)?(?: \w+){0,2}? (?:driv\w+|lift\w*|immerse|soak\w*|swim\w*|bath\w*|strenuous)")
HANDOUT = words(r"""
    (?:given|provided|received|gave)(?: \S+){0,9}? (?:wound|incision|dressing|drain|cast|diet|activity)(?: care)?|(?:wound|
    incision|drain|cast|dressing)[- ](?:care )?(?:instructions?|handout|sheet)|home (?:exercise )?program""")
CONTACT = words(r"""
    call|calls|contact|notify|phone|alert|report|return|come (?:back|in)|go (?:to|in|back)|present to|be (?:brought|seen)|
    bring|see|seek""")
CONDITION = words(rf"""
    if(?! (?:needed|necessary|possible))|should (?:{_PATIENT}|there|any|symptoms|the)|in case|in the event|(?:for|with) any|
    any (?:questions|concerns|problems|other)|with (?:questions|concerns|problems)|when(?:ever)?(?! she is| he is)|
    for (?:temp|fever|increas|worsen|new|recurr|problem|question|concern)\w*""")
WARNING = words(r"""
    (?:seek|get) (?:immediate )?medical (?:attention|care|help)|return to (?:the )?(?:er|ed|emergency)|watch for|call me|
    (?:check|look|monitor|watch)(?: \S+){0,5}? (?:bleeding|signs of|for any|fevers?)|(?:be seen|follow-?up) sooner|
    talk to(?: \w+){0,4}? (?:doctor|physician|provider)""")
OTHER_PLACES = words("transfer\\w*|discharged? (?:\\S+ ){0,3}?to|prognosis|potential|stable")

# ---- Services
SERVICE = words(r"""
    home[- ]?(?:health|care|nurs\w+|oxygen|o2|hospice|physical|occupational|pt|ot|therapy|iv|infusion|visits?)|
    visiting nurses?|vna|hospice|skilled nursing (?:care|services|visits?|come)|oxygen (?:at home|with)|durable medical|
    hospital bed|with services|out-?patient (?:\w+ )?(?:therapy|pt|rehab\w*|counsell?ing|program)|support groups?|
    group sessions?|agency""")
THERAPY = words(r"""
    (?:physical|occupational|speech|respiratory|family|group|pulmonary|cardiac)(?: and \w+)? (?:therapy|therapist|rehab\w*|
    sessions?|care)|pt(?!\.|/inr|,? inr)(?: ?/ ?ot| and ot)|(?:undergo|continue|receive|
    participate in)(?: \w+){0,4}? rehab\w*|(?:need|receive|require)\w* (?:\w+ )?nursing|nurs(?:e|es|ing) (?:will|visits?|
    services?)|case manage\w+|social (?:work|services?|worker)|(?:dietary|nutrition\w*|diabetic|wound care|psychiatric|
    ostomy) (?:consult\w*|evaluation|teaching)|dieti[tc]ian|consults|(?:obtain\w*|consider\w*|for)(?: \w+){0,3}? consult|
    re-?consult|counsell?ing|oxygen(?! sat)|oximetry|vaccin\w+|continue (?:\w+ )?treatment (?:at|with)""")
SERVICE_DONE = words(r"""
    (?:was|were|had) (?:\w+ )?(?:seen|evaluated|consulted|initiated|working|started|given|treated|followed)|cleared|attended|
    completed|exercises|improved with""")
WORKUP = words(r"(?:further|additional|out-?patient) (?:work-?up|testing|evaluation|studies)|work-?up")
