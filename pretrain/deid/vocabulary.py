"""Words that look like names and are none: what is named after people, what opens a sentence, and fields that names fill."""

import re


def word_set(table: str) -> frozenset[str]:
    """The words of a table, which white space parts."""
    return frozenset(table.split())


EPONYMS = word_set("""
    addison alzheimer apgar asperger babcock babinski baker barrett behcet bell bence blalock bright brudzinski burkitt
    chadwick cheyne chiari chvostek coombs cooper cornell crohn cushing danlos doppler down duchenne dupuytren ehlers
    epstein barr ewing fallopian foley fournier frey gaucher giemsa glasgow gleason goodpasture graves guillain barre
    hartmann hashimoto henoch schonlein hickman hirschsprung hodgkin holter homan homans horner huntington jackson pratt
    judkins kaposi kawasaki kegel kernig kocher koch korsakoff kussmaul lachman leiden lewy likert lisfranc ludwig lyme
    mallory weiss marfan mayo mcburney mcmurray meckel meniere mohs murphy nissen osler paget papanicolaou parkinson pap
    penrose peyronie pfannenstiel phalen prader ramsay raynaud reiter rey reye romberg rorschach roux scarpa schatzki
    seldinger sjogren spurling stokes swan ganz tanner taussig tinel tourette trendelenburg trousseau turner valsalva
    virchow von wechsler wegener wernicke whipple wilms wilson zenker zollinger ellison
""") | word_set("""
    alabama alaska america american arizona arkansas boston california carolina chicago christmas colorado connecticut
    dakota dallas delaware denver easter english florida georgia hawaii houston idaho illinois indiana iowa jersey kansas
    kentucky louisiana maine maryland massachusetts mexico michigan minnesota mississippi missouri montana nebraska nevada
    ohio oklahoma oregon pennsylvania poland spanish tennessee texas utah vermont virginia washington wisconsin wyoming
    monday tuesday wednesday thursday friday saturday sunday
""")
"""Taken for a name only where something else says so: diseases, signs and instruments are called by them, and states."""

EPONYM_NOUN = re.compile(
    r"(?:['’]s|s['’])?[\s-]{1,2}(?:and\s\w{1,20}\s)?(?:anemia|angle|ankylosis|antigen|aphasia|approach|area|arthritis|arthropathy"
    r"|artery|ataxia|bag|balloon|bandage|blades?|block|bodies|boots?|brace|breathing|bundle|bunionectomy|cage|canal|cancer"
    r"|cannula|carcinoma|catheters?|cells?|chorea|cirrhosis|clamps?|class|classification|clips?|coma|collar|contracture|criteria|crisis"
    r"|curettes?|cysts?|defect|deformity|dementia|device|dilators?|disease|disorder|drains?|drainage|drill|duct|effect"
    r"|electrodes?|elevator|encephalopathy|esophagus|fascia|fashion|fever|fibers?|filter|forceps|formula|fractures?|fundoplication"
    r"|gait|gangrene|gel|glands?|graft|grafts|granulomatosis|headrest|hernia|hydrocele|implants?|incision|index|inventory|laryngoscope"
    r"|law|lesion|ligament|lines?|loop|lymphoma|maneuver|mask|membrane|mesh|method|microscope|muscles?|nails?|needles?|nephritis"
    r"|nerves?|neuropathy|nodes?|nodules?|ointment|operation|osteotomy|palsy|patch|phenomenon|pins?|plates?|plexus|ports?|position"
    r"|pouch|probe|procedure|prosthesis|protocol|psychosis|pump|purpura|reflex|repair|respirations?|retractors?|ring|rods?|rongeurs?"
    r"|sarcoma|scale|scissors|score|screws?|shunt|signs?|snare|spatula|speculum|splints?|spots?|stage|stain|staplers?|stents?"
    r"|sutures?|syndrome|system|tablets?|technique|tests?|thorax|thyroiditis|titer|tongs|triangle|trocars?|tubes?|tubercle|tumou?rs?"
    r"|ulcers?|valve|vein|views?|virus|walker|wires?)\b",
    re.I,
)
"""What follows an eponym: `Foley catheter`, `Crohn's disease`."""

NEVER = word_set("""
    a an and any are as at but by for from has have he her his i if in is it its no none not of on or our per she so than
    that the their them then there these they this to was we were when which who will with you your yes see please address
    admission age attending clinic date discharge dictated do dob doctor dr fax female history hospital male md mr mrn mrs
    ms name np pa patient pending phone physical physician pt resident rn same self service sex signed sir madam colleague
    tel unassigned unknown jan feb mar apr jun jul aug sep sept oct nov dec january february july september october
    november december
""")
"""Never part of a name, not even where one must stand."""

FIELDS = word_set("""
    name names patient pt member client mother father spouse guardian contact proxy agent guarantor subscriber insured
    alias aka surname kin nok poa hcp attending attendings attg resident residents intern interns fellow surgeon surgeons
    assistant assistants anesthetist crna consultant consultants provider providers doctor doctors md pcp referring
    ordering author dictator transcriptionist scribe reader verifier interpreter examiner sonographer nurse rn manager
    worker cc to from re dear attn attention signature signed read patient's name(s)
""")
"""The last word before a colon that a name follows; so does whatever a clinician's calling ends in."""
CALLINGS = ("ologist", "ologists", "iatrist", "iatrists", "ician", "icians")

SIGNING = word_set("""
    dictated signed cosigned co-signed countersigned transcribed reviewed ordered referred performed verified
    authenticated approved interpreted read entered prepared written authored reported completed attested electronically
    scribed edited finalized documented seen supervised requested assisted witnessed taken administered evaluated examined
    followed accompanied called consulted
""")
"""What is done `by` somebody with a name."""
