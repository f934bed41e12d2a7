"""Radiology studies: a table of what each may show, and the questions that ask for it.

Long because it is a table. Square brackets mark the phrase that answers a topic's questions.
"""

from dataclasses import dataclass


@dataclass(frozen=True, eq=False)
class Topic:
    """One thing a report may speak of; each stands for itself."""

    questions: tuple[str, ...]
    present: tuple[str, ...]
    """In the findings, where there is something."""
    absent: tuple[str, ...]
    """In the findings, where there is nothing."""
    impression: tuple[str, ...]
    """In the impression, where there is something."""
    advice: tuple[tuple[str, str], ...] = ()
    """Label and template of what the radiologist may ask for then; the label is empty where nothing is asked."""


@dataclass(frozen=True)
class Study:
    """One kind of examination."""

    title: str
    techniques: tuple[str, ...]
    normal: tuple[str, ...]
    """The whole impression, where there is nothing."""
    topics: tuple[Topic, ...]


def _topic(
    questions: str,
    present: str,
    absent: str,
    impression: str,
    *advice: tuple[str, str],
) -> Topic:
    """Variants stand on lines of their own."""
    return Topic(
        questions=tuple(questions.splitlines()),
        present=tuple(present.splitlines()),
        absent=tuple(absent.splitlines()),
        impression=tuple(impression.splitlines()),
        advice=advice,
    )


_EFFUSION = _topic(
    "Is there a pleural effusion?\nIs there fluid around the lungs?\nHow large is the pleural effusion?",
    "There is a [{size} {side} pleural effusion].\nA [{size} {side} effusion] <layers posteriorly|"
    "blunts the costophrenic angle>.",
    "There is [no pleural effusion].\n[no effusion] on either side.\nThe [costophrenic angles are sharp].",
    "[{size} {side} pleural effusion].\n[{size} {side} effusion], <new|unchanged|slightly larger>.",
    ("", "Attention to the effusion on clinical grounds."),
)
_PNEUMOTHORAX = _topic(
    "Is there a pneumothorax?\nHas the lung collapsed?",
    "A [{size} {side} apical pneumothorax] measures {mm} mm.\nThere is a [{size} pneumothorax on the {side}].",
    "[no pneumothorax].\nThere is [no pneumothorax] on either side.",
    "[{size} {side} pneumothorax].",
    ("Imaging", "A repeat film in {2-12} hours is advised."),
)
_LUNG_NODULE = _topic(
    "Is there a lung nodule?\nHow big is the pulmonary nodule?\nWhere is the nodule?",
    "There is a [{mm} mm <solid|ground-glass|part-solid> nodule in the {side} {lobe} lobe].\n"
    "A [{mm} mm nodule] is seen in the {side} {lobe} lobe (image {12-88}).",
    "[no suspicious nodule].\n[no pulmonary nodules or masses] are seen.",
    "[{mm} mm nodule in the {side} {lobe} lobe].",
    ("Imaging", "Follow-up CT in {3-12} months is recommended."),
    ("Imaging", "A CT of the chest in {6-12} months should be considered if there are risk factors."),
    ("Imaging", "PET-CT is suggested."),
    ("", "The nodule is stable since {old year} and needs no further imaging."),
)
_CONSOLIDATION = _topic(
    "Is there pneumonia?\nIs there a consolidation?\nWhere is the consolidation?",
    "There is [<patchy|dense|hazy> opacity in the {side} {lobe} lobe].\n"
    "[{side} {lobe} lobe consolidation] {with} air bronchograms is present.",
    "The [lungs are clear].\n[no focal consolidation] is seen.",
    "[{side} {lobe} lobe pneumonia].\n[{side} {lobe} lobe opacity], <probably infectious|which may be aspiration>.",
    ("Imaging", "Repeat films after treatment are recommended to prove clearing."),
    ("", "Clinical correlation is suggested."),
)
_HEART = _topic(
    "Is the heart enlarged?\nWhat is the size of the heart?",
    "The [heart is <mildly|moderately|markedly> enlarged].\n[<mild|moderate> cardiomegaly] is <present|unchanged>.",
    "The [heart is normal in size].\n[heart size is normal].",
    "[cardiomegaly] <without edema|{with} vascular congestion>.",
)
_EDEMA = _topic(
    "Is there pulmonary edema?\nAre there signs of fluid overload?",
    "There is [<mild|moderate> interstitial edema].\n[Vascular congestion] {with} Kerley lines is seen.",
    "[no pulmonary edema].\nThe [pulmonary vessels are not congested].",
    "[<mild|moderate> pulmonary edema].",
)
_RIB = _topic(
    "Is there a rib fracture?\nAre any bones broken?",
    "There is [a <minimally displaced|nondisplaced> fracture of the {side} <fourth|sixth|seventh|ninth> rib].",
    "[no acute fracture] is identified.\nThe [ribs are intact].",
    "[{side} rib fracture].",
)
_EMBOLUS = _topic(
    "Is there a pulmonary embolism?\nAre there clots in the pulmonary arteries?\nWhere is the embolus?",
    "There are [filling defects in the {side} {lobe} lobe <segmental|subsegmental> arteries].\n"
    "A [<lobar|segmental> embolus on the {side}] is present.",
    "There is [no pulmonary embolism] to the segmental level.\n[no filling defect] in the pulmonary arteries.",
    "[<acute pulmonary|pulmonary> embolism in the {side} {lobe} lobe].",
    ("", "These results were called to {referrer} at {clock}."),
)
_LYMPH_NODES = _topic(
    "Are there enlarged lymph nodes?\nHow large are the lymph nodes?",
    "[<Mediastinal|Hilar|Retroperitoneal> lymph nodes measure up to {mm} mm].",
    "[no enlarged lymph nodes].\n[no lymphadenopathy] is seen.",
    "[<borderline|mildly> enlarged lymph nodes], <nonspecific|probably reactive>.",
    ("Imaging", "Reassessment by CT in {3-6} months may be of use."),
    ("Procedure", "Biopsy should be considered."),
)
_GALLSTONES = _topic(
    "Are there gallstones?\nWhat does the gallbladder show?",
    "The gallbladder contains [<several|a few|numerous> stones up to {mm} mm].\nThere are [gallstones] without wall thickening.",
    "The [gallbladder is normal].\n[no gallstones] are present.",
    "[Gallstones] without signs of inflammation.",
    ("Appointment", "Surgical referral may be considered."),
)
_LIVER = _topic(
    "Is there a lesion in the liver?\nWhat was found in the liver?",
    "There is [a {mm} mm low-density lesion in the {side} lobe of the liver].",
    "The [liver is <normal|unremarkable>].\n[no focal liver lesion].",
    "[{mm} mm liver lesion], <probably a cyst|too small to characterize>.",
    ("Imaging", "MRI of the liver is recommended for characterization."),
    ("", "No follow-up of this lesion is required."),
)
_APPENDIX = _topic(
    "Is there appendicitis?\nWhat does the appendix look like?",
    "The [appendix is dilated to {9-15} mm] {with} surrounding stranding.",
    "The [appendix is normal].\n[no signs of appendicitis].",
    "[<Acute|Uncomplicated> appendicitis].",
)
_KIDNEY = _topic(
    "Is there hydronephrosis?\nIs the kidney obstructed?",
    "There is [<mild|moderate> {side} hydronephrosis] {with} a {2-9} mm stone in the ureter.\n"
    "[<mild|moderate> fullness of the {side} collecting system].",
    "[no hydronephrosis] or stone.\nThe [kidneys are normal in size] and show no obstruction.",
    "[{side} hydronephrosis] <from a distal ureteral stone|of uncertain cause>.",
    ("Imaging", "Repeat ultrasound in {2-8} weeks is suggested."),
    ("Appointment", "Urology referral is advised."),
)
_COLON = _topic(
    "Is the bowel wall thickened?\nWhat does the colon show?",
    "There is [wall thickening of the <sigmoid|descending|ascending> colon].",
    "The [colon is normal].\n[no bowel wall thickening].",
    "[thickening of the colonic wall], <inflammation or neoplasm|probably diverticulitis>.",
    ("Procedure", "Colonoscopy is recommended once the acute illness has settled."),
)
_FREE_FLUID = _topic(
    "Is there free fluid?\nIs there ascites?",
    "There is [a {size} amount of free fluid in the pelvis].",
    "[no free fluid] or free air.\nThere is [no ascites].",
    "[{size} volume of free fluid].",
)
_BLEED = _topic(
    "Is there intracranial hemorrhage?\nIs there bleeding in the brain?",
    "There is [a {mm} mm <subdural hematoma|focus of hemorrhage> on the {side}].",
    "There is [no intracranial hemorrhage].\n[no acute bleeding].",
    "[{size} {side} subdural hematoma].",
    ("Imaging", "Repeat head CT in {6-24} hours is recommended."),
)
_INFARCT = _topic(
    "Is there an acute infarct?\nWhere is the stroke?",
    "There is [an acute infarct in the {side} <thalamus|corona radiata|frontal lobe|occipital lobe>].\n"
    "A [{mm} mm focus of restricted diffusion in the {side} hemisphere] is seen.",
    "[no acute infarct].\n[no large territorial infarction] is seen.",
    "[Acute {side} <thalamic|cortical|lacunar> infarct].",
)
_WHITE_MATTER = _topic(
    "Are there white matter changes?\nIs there small vessel disease?",
    "[<mild|moderate|extensive> white matter changes] are in keeping {with} small vessel disease.",
    "The [white matter is normal for age].",
    "[Chronic small vessel changes].",
)
_SINUS = _topic(
    "What do the sinuses show?\nIs there sinusitis?",
    "There is [mucosal thickening in the {side} maxillary sinus].",
    "The [paranasal sinuses are clear].",
    "[{side} maxillary sinus disease].",
)
_SHIFT = _topic(
    "Is there midline shift?\nIs there mass effect?",
    "[Midline structures are displaced by {mm} mm].",
    "[no midline shift] or mass effect.\nMidline structures are [not displaced].",
    "[{mm} mm of midline shift].",
)
_DVT = _topic(
    "Is there a deep vein thrombosis?\nIs there a clot in the leg?\nWhich vein is blocked?",
    "There is [<occlusive|nonocclusive> thrombus in the {side} <femoral|popliteal|posterior tibial> vein].",
    "[no deep vein thrombosis] in either leg.\nThe [veins compress normally].",
    "[{side} leg deep vein thrombosis].",
    ("Imaging", "Repeat ultrasound in one week is suggested if no treatment is given."),
    ("", "{referrer} was told by telephone."),
)
_BAKER = _topic(
    "Is there a Baker cyst?\nIs there a fluid collection behind the knee?",
    "There is [a {12-48} mm cyst behind the {side} knee].",
    "[no popliteal cyst].",
    "[{side} Baker cyst].",
)
_SOFT_TISSUE = _topic(
    "Is there soft tissue swelling?\nIs there edema under the skin?",
    "There is [<mild|diffuse> soft tissue edema] without a drainable collection.",
    "The [soft tissues are normal].\n[no soft tissue swelling].",
    "[soft tissue edema], no abscess.",
)
_HIP_FRACTURE = _topic(
    "Is there a hip fracture?\nWhich bone is broken?",
    "There is [<a displaced|an impacted|a nondisplaced> fracture of the {side} femoral neck].\n"
    "[Intertrochanteric fracture of the {side} femur] is seen.",
    "[no fracture or dislocation] is seen.\n[no acute fracture] of the hip.",
    "[{side} hip fracture].",
    ("Imaging", "MRI is recommended if pain persists."),
)
_ARTHRITIS = _topic(
    "Is there arthritis?\nAre there degenerative changes?",
    "[<mild|moderate|severe> degenerative changes] of the <hip|sacroiliac> joints are present.",
    "The [joint spaces are preserved].",
    "[<mild|moderate> osteoarthritis].",
)
_BONE_DENSITY = _topic(
    "Are the bones osteopenic?\nIs there low bone density?",
    "The [bones are osteopenic].\n[diffuse demineralization] is noted.",
    "[Bone density appears normal].",
    "[Osteopenia].",
    ("Imaging", "Bone density measurement is recommended."),
)
_BLADDER = _topic(
    "What does the bladder show?\nIs the bladder wall thickened?",
    "The [bladder wall is thickened to {5-9} mm].",
    "The [bladder is unremarkable].",
    "[Thickened bladder wall].",
    ("Lab", "Urine cytology is suggested."),
    ("Procedure", "Cystoscopy is advised."),
)
_CYST = _topic(
    "Is there a renal cyst?\nHow large is the cyst in the kidney?",
    "There is [a {12-48} mm simple cyst in the {side} kidney].",
    "[no cyst or mass] in either kidney.",
    "[Simple {side} renal cyst].",
    ("", "No further imaging is required for the cyst."),
)

STUDIES: dict[str, Study] = {
    "chest x-ray": Study(
        "Chest x-ray",
        ("Frontal and lateral views of the chest.", "Single portable view of the chest.", "PA and lateral radiographs."),
        ("No acute cardiopulmonary abnormality.", "Normal chest.", "No acute disease."),
        (_CONSOLIDATION, _EFFUSION, _PNEUMOTHORAX, _HEART, _EDEMA, _RIB, _LUNG_NODULE),
    ),
    "chest ct": Study(
        "CT of the chest",
        (
            "Helical images from the apices to the adrenals after <80|100> mL of intravenous contrast.",
            "CT angiogram {with} thin sections.",
        ),
        ("No acute findings in the chest.", "Unremarkable CT of the chest."),
        (_EMBOLUS, _LUNG_NODULE, _EFFUSION, _CONSOLIDATION, _LYMPH_NODES, _HEART, _RIB),
    ),
    "abdominal ct": Study(
        "CT of the abdomen and pelvis",
        ("Axial images {with} oral and intravenous contrast.", "Noncontrast helical CT, coronal and sagittal reformats."),
        ("No acute abdominal process.", "Normal CT of the abdomen and pelvis."),
        (_APPENDIX, _LIVER, _GALLSTONES, _KIDNEY, _COLON, _FREE_FLUID, _LYMPH_NODES),
    ),
    "head ct": Study(
        "CT of the head",
        ("Noncontrast axial images of the brain.", "Helical acquisition without contrast."),
        ("No acute intracranial process.", "Normal CT of the head."),
        (_BLEED, _INFARCT, _SHIFT, _WHITE_MATTER, _SINUS),
    ),
    "brain mri": Study(
        "MRI of the brain",
        ("Multiplanar T1 and T2 images, diffusion and gradient echo.", "Stroke protocol without gadolinium."),
        ("No acute infarct or hemorrhage.", "Normal MRI of the brain."),
        (_INFARCT, _BLEED, _WHITE_MATTER, _SHIFT, _SINUS),
    ),
    "leg ultrasound": Study(
        "Venous ultrasound of the legs",
        ("Grayscale, color and spectral Doppler of both legs.", "Compression ultrasound from groin to calf."),
        ("No evidence of thrombosis.", "Normal venous study."),
        (_DVT, _BAKER, _SOFT_TISSUE),
    ),
    "hip x-ray": Study(
        "X-ray of the hip",
        ("AP pelvis and two views of the hip.", "Cross-table lateral and AP views."),
        ("No fracture.", "Normal hip and pelvis."),
        (_HIP_FRACTURE, _ARTHRITIS, _BONE_DENSITY, _SOFT_TISSUE),
    ),
    "renal ultrasound": Study(
        "Ultrasound of the kidneys",
        ("Real-time imaging of both kidneys and the bladder.", "Grayscale and color images."),
        ("Normal kidneys and bladder.", "No obstruction."),
        (_KIDNEY, _CYST, _BLADDER, _FREE_FLUID),
    ),
}
