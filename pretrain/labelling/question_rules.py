"""What can be asked about a sentence of a radiology report: patterns of how radiologists write, and wordings of questions."""

# What patterns are made of.
_NUMBER = r"(?:approximately |about |around |up to )?\d+(?:[.,/]\d+)*(?:(?: ?(?:x|to|-) ?|-)\d+(?:\.\d+)?)*"
_LENGTH = r"(?: ?(?:x ?\d+(?:\.\d+)? ?)*(?:cm|mm|centimeters?|millimeters?)\b)(?: x \d+(?:\.\d+)? ?(?:cm|mm))*"
_UNIT = (
    r"(?: ?%| percent\b| ?(?:mm ?hg|mmhg|cm/s(?:ec)?|m/s(?:ec)?|ml|cc|mci|millicuries|mg|mcg|beats per minute|bpm|cm|mm|ms|"
    r"degrees|weeks?|days?|months?|years?|minutes?|grams?|pounds?|watts?|mets)\b)+"
)
_WORD = r"[A-Za-z][\w'/-]*"
_STOP = (
    r"(?:due|its|just|is|are|was|were|be|been|has|have|had|and|but|with|which|that|who|there|no|not|this|these|it|the|a|an|in"
    r"|of|at|on|by|from|to|for|as|or|within|seen|noted|identified|present|demonstrates?|shows?|reveals?|measur\w+|appears?)"
)
_NOUN = rf"(?:(?!{_STOP}\b){_WORD} ){{0,4}}(?!{_STOP}\b){_WORD}"
_THING = rf"{_NOUN}(?: of (?:the )?{_NOUN})?"
_DEGREE = (
    r"(?:(?:very )?(?:trace|minimal|mild|mildly|moderate|moderately|severe|severely|marked|small|large|tiny|extensive|slight)"
    r"(?:[ -]to[ -](?:mild|moderate|severe|large))?)"
)
_SEEN = (
    r"(?:(?:clearly |also |again )?(?:seen|noted|identified|present|visualized|appreciated|demonstrated|evident|detected|"
    r"observed|found|shown))"
)
_AT = r"(?:in|within|at|along|involving|on|near|over|throughout|adjacent to)"
_IS = r"(?:is|are|was|were)"

RULES: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    (
        "denied",
        rf"\b[Nn]o (?:(?:\w+ )?(?:evidence|signs?|indication) (?:of|for|to suggest) )?(?:an? |any )?(?:(?:definite|obvious|"
        rf"other) )?(?P<x>{_NOUN})",
        (
            "Is there {x}?",
            "Is there any {x}?",
            "Is there evidence of {x}?",
            "Are there {x}?",
            "Was {x} seen?",
            "Does the patient have {x}?",
        ),
    ),
    (
        "denied list",
        rf"\b[Nn]o [^.]*?(?:,|\bor) (?:an? )?(?P<x>{_NOUN})",
        ("Is there {x}?", "Is there any {x}?", "Any {x}?", "Is {x} present?"),
    ),
    (
        "affirmed",
        rf"^(?:There {_IS} )(?:an? |some |also )?(?P<x>(?!no\b){_NOUN})",
        ("Is there {x}?", "Is there a {x}?", "Is there any {x}?", "Is {x} present?"),
    ),
    (
        "affirmed seen",
        rf"^(?:The |An? )?(?P<x>(?![Nn]o\b){_THING}) {_IS} {_SEEN}",
        ("Is there {x}?", "Is there a {x}?", "Was {x} seen?", "Does the patient have {x}?"),
    ),
    (
        "place",
        rf"\b(?P<x>(?![Nn]o\b){_NOUN}),? (?:{_IS} )?(?:{_SEEN} )?{_AT} (?:the )?(?P<a>{_NOUN}(?:(?: of| in| at)(?: the)? "
        rf"{_NOUN})?)",
        ("Where is the {x}?", "Where is the {x} located?", "Where is {x} seen?", "Where was the {x}?"),
    ),
    (
        "place asked",
        rf"^(?:There {_IS} )?(?:an? |the )?(?P<a>(?![Nn]o\b){_THING}),? (?:{_IS} )?(?:{_SEEN} )?{_AT} (?:the )?(?P<x>{_NOUN}"
        rf"(?: of (?:the )?{_NOUN})?)",
        ("What is seen in the {x}?", "What was found in the {x}?", "What does the {x} show?", "What abnormality is in the {x}?"),
    ),
    (
        "degree",
        rf"\b(?P<a>{_DEGREE}) (?P<x>{_NOUN})",
        ("How severe is the {x}?", "How much {x} is there?", "What is the degree of {x}?"),
    ),
    (
        "kind",
        rf"\b(?P<a>(?:(?!{_STOP}\b){_WORD} ){{1,3}}(?P<x>(?!{_STOP}\b)[a-z]{{4,}}))(?= (?:{_IS}|in|of|with|at|involving)\b|"
        rf"[,;]|$)",
        (
            "What kind of {x} is there?",
            "Which {x} is meant?",
            "What type of {x} is present?",
            "What {x} is there?",
            "Which {x} are seen?",
        ),
    ),
    (
        "size",
        rf"\b(?P<x>(?!{_STOP}\b){_THING})(?: (?:that|which))?,? (?:also )?(?:measur\w+|of|{_IS}|{_IS} measured|with a "
        rf"diameter of|showing a diameter of)(?: at)? (?P<a>{_NUMBER}{_LENGTH})",
        ("How large is the {x}?", "How big is the {x}?", "What is the size of the {x}?", "What does the {x} measure?"),
    ),
    (
        "value",
        rf"\b(?P<x>{_THING})(?: (?:obtained|achieved|measured|calculated|estimated)(?: during {_NOUN})?)?,? "
        rf"(?:(?:{_IS} |of |at |= ?|equals )+)?(?:(?:estimated|calculated|measured|approximately) )?(?:(?:at|to be|as|of) )*"
        rf"(?P<a>{_NUMBER}(?:{_UNIT})?)(?=[\s.,;)]|$)",
        ("What is the {x}?", "What was the {x}?", "What {x} was measured?", "How much is the {x}?", "How high is the {x}?"),
    ),
    (
        "dose",
        rf"\b(?P<a>{_NUMBER}{_UNIT}) (?:of )?(?P<x>{_NOUN})",
        ("How much {x} was given?", "What amount of {x} was used?", "How much {x}?", "What was the dose of {x}?"),
    ),
    (
        "agent",
        rf"\b(?P<x>{_NUMBER}{_UNIT}) of (?:intravenous |IV )?(?P<a>{_NOUN})",
        ("What was injected?", "Which agent was given?", "What was used?"),
    ),
    (
        "state",
        rf"^(?:The |Both |Visualized )?(?P<x>{_THING}(?: and (?:the )?{_NOUN})?) (?:{_IS}|appear(?:s|ed)?(?: to be)?|"
        rf"remains?) (?:grossly |within )?(?:normal|unremarkable|clear|intact|patent|enlarged|dilated|stable|unchanged|"
        rf"maintained|preserved|prominent)",
        (
            "What is the state of the {x}?",
            "Is the {x} normal?",
            "How is the {x}?",
            "Are the {x} normal?",
            "How does the {x} look?",
            "Is the {x} abnormal?",
        ),
    ),
    (
        "done",
        rf"^(?:The |An? )?(?P<x>{_THING}) (?:was|were) (?:not )?(?:performed|obtained|assessed|done|given|used|evaluated|"
        rf"administered|placed|removed|injected)",
        ("Was {x} done?", "Was a {x} performed?", "Was the {x} obtained?", "Was {x} used?"),
    ),
    (
        "means",
        rf"\b(?P<x>{_NOUN}) (?:\w+ ){{0,4}}(?:consistent with|compatible with|suggestive of|suggesting|representing|"
        rf"indicative of|characteristic of|worrisome for|suspicious for|concerning for) (?:an? |the )?(?P<a>{_THING})",
        ("What does the {x} suggest?", "What is the {x} consistent with?", "What could the {x} be?", "What is suspected?"),
    ),
    (
        "cause",
        rf"\b(?P<x>{_NOUN}) (?:\w+ ){{0,4}}(?:due to|secondary to|because of|caused by|related to|because) (?:the |an? )?"
        rf"(?P<a>[^.;]+)",
        (
            "Why is there {x}?",
            "What is the cause of the {x}?",
            "What caused the {x}?",
            "Why was {x} seen?",
            "What is the {x} due to?",
        ),
    ),
    (
        "reason",
        rf"\b(?P<x>{_NOUN}) (?:was|were|is) (?:\w+ )?(?:performed|obtained|done|given|used|placed) (?:\w+ )?(?P<a>(?:for|to|"
        rf"as|because) [^.;]+)",
        ("Why was {x} done?", "What was the purpose of the {x}?", "Why was {x} used?"),
    ),
    (
        "time",
        rf"\b(?P<x>follow[ -]?up|repeat\w*|re-?evaluation|{_NOUN}) (?:[\w-]+ ){{0,4}}(?:in|within|every|after) (?P<a>(?:\d+|"
        rf"one|two|three|four|six|twelve)(?:(?: to |-)\w+)? (?:days?|weeks?|months?|years?))",
        ("When should {x} be done?", "When is {x} advised?", "When should it be followed up?"),
    ),
    (
        "with",
        rf"\b(?P<x>{_NOUN}) (?:was|were) (?:\w+ )?(?:performed|obtained|done|accomplished|guided|measured) (?:with|using|"
        rf"utilizing|via|by) (?:the use of |an? |the )?(?P<a>{_THING})",
        ("What was used for the {x}?", "With what was the {x} done?", "How was {x} done?"),
    ),
    (
        "had",
        rf"\b[Pp]atient (?:\w+ )?(?:experienced|developed|had|complained of|reported|denied|tolerated|has) (?P<a>(?P<x>"
        rf"{_WORD})[^.;]*)",
        ("What did the patient have?", "What symptoms did the patient have?", "What did the patient experience?"),
    ),
    (
        "subject",
        rf"^(?:The )?(?P<x>{_NOUN}) (?:demonstrates?|shows?|showed|reveals?|revealed|demonstrated|exhibits?|contains?|"
        rf"exhibited) (?:an? |the |evidence of )?(?P<a>[^.;]+)",
        ("What does the {x} show?", "What did the {x} demonstrate?", "What is seen in the {x}?", "What does {x} reveal?"),
    ),
    (
        "advice",
        rf"(?P<a>(?!{_STOP}\b){_WORD}(?: (?:{_WORD})){{0,7}}) (?:is|are|was|were|should be|could be|may be|can be|would be)"
        rf"(?: also| clinically| then)? (?P<x>recommended|advised|suggested|warranted|indicated|considered|performed for "
        rf"further|obtained for further|helpful)",
        (
            "What is recommended?",
            "What additional study could be done?",
            "What follow-up is advised?",
            "What further test is suggested?",
            "What should be done next?",
        ),
    ),
    (
        "advice given",
        r"\b(?:recommend|suggest|advise|consider)(?:s|ed)? (?:an? |the )?(?P<a>(?P<x>[\w-]+)[^.;]*)",
        ("What is recommended?", "What is suggested?", "What should be done?"),
    ),
    (
        "impression",
        r"^(?:IMPRESSION|CONCLUSIONS?|DIAGNOSIS|FINAL IMPRESSION|OPINION):\s*(?:1\.\s*)?(?P<a>[^.\n]{6,150})",
        (
            "What is the overall impression?",
            "What is the diagnosis?",
            "What is the conclusion?",
            "What is the overall result?",
            "What was the final impression?",
        ),
    ),
    (
        "indication",
        r"^(?:INDICATIONS?|CLINICAL INDICATION|REASON FOR (?:THE )?(?:EXAM(?:INATION)?|STUDY|VISIT)|CLINICAL HISTORY|"
        r"HISTORY):\s*(?P<a>[^.\n]{4,120})",
        ("Why was the exam done?", "What was the indication?", "What is the reason for the study?", "Why was the study ordered?"),
    ),
    (
        "exam",
        r"^(?:EXAM|EXAMINATION|PROCEDURE|STUDY|TYPE OF TEST):\s*(?P<a>[^.\n]{4,120})",
        ("What exam was done?", "Which study was performed?", "What type of test is this?"),
    ),
)
"""Kind, pattern and wordings of a question. `x` is the thing asked about, `a` the answer; without an `a` the clause answers."""
