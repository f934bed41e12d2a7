"""Pairs to teach a judge of premise and hypothesis with where nobody has labelled any: a table of facts and their opposites.

A row holds ways to note a finding, ways to note that it is not so, what follows from either in plain words, and what neither
says. A hypothesis of the first kind is entailed by the first notes and contradicted by the second, so it tells nothing
without its premise. The table is general clinical knowledge, of no hospital's notes.
"""

import random

from pretrain.tasks.mednli import LABELS, Pair

DRAWS = 5
"""How often every hypothesis is asked, each time with another premise."""
JOINED = 0.3
"""Share of premises that tell of something else besides."""
FOREIGN = 0.5
"""How many hypotheses of other rows are asked of each side of a row; they are neutral."""


def pairs(draws: int = DRAWS, seed: int = 0) -> list[Pair]:
    """Premises and hypotheses with the labels that follow from the table, in random order; a row's pairs form a group.

    Args:
        draws: passes over the table; a row's pairs differ between them in how their premises are put.
        seed: of everything that is drawn.
    """
    draw = random.Random(seed)  # noqa: S311 - no secret
    entailment, neutral, contradiction = LABELS
    said: list[tuple[int, str, str, str]] = []
    for _ in range(draws):
        for number, row in enumerate(ROWS):
            for side in (0, 1):
                for hypotheses, label in ((row[2 + side], entailment), (row[3 - side], contradiction), (row[4], neutral)):
                    said += [(number, _premise(number, side, draw), hypothesis, label) for hypothesis in hypotheses]
                if draw.random() < FOREIGN:
                    said.append(
                        (number, draw.choice(row[side]), draw.choice(_other(number, draw)[draw.choice((2, 3, 4))]), neutral)
                    )
    draw.shuffle(said)
    return [
        Pair(f"table-{n}", premise, hypothesis, label, f"row-{number}")
        for n, (number, premise, hypothesis, label) in enumerate(said)
    ]


def _premise(number: int, side: int, draw: random.Random) -> str:
    """A note of one side of a row, sometimes beside one of another row."""
    premise = draw.choice(ROWS[number][side])
    if draw.random() >= JOINED:
        return premise
    first, second = draw.sample([premise, draw.choice(_other(number, draw)[draw.randrange(2)])], 2)
    if draw.random() < 0.4:
        return f"{first} {second}"
    opening = second.split()[0]
    second = second[0].lower() + second[1:] if opening in _SMALL_WITHIN else second
    return first.removesuffix(".") + draw.choice([", and ", "; ", ", but ", " and "]) + second


def _other(number: int, draw: random.Random) -> tuple[list[str], ...]:
    return ROWS[(number + draw.randrange(1, len(ROWS))) % len(ROWS)]


def _row(text: str) -> tuple[list[str], ...]:
    """Notes of it, notes of its opposite, what follows from either, what follows from neither."""
    parts = tuple([one.strip() for one in " ".join(part.split()).split(";")] for part in text.split("|"))
    assert len(parts) == 5
    return parts


_SMALL_WITHIN = frozenset(["The", "She", "He", "No", "Denies", "A", "There", "His", "Her", "We", "Was", "An", "It"])
_TABLE = """
Creatinine was 3.4 on admission.;BUN 62 and creatinine 2.9.|Creatinine was 0.8 and stable.;BUN 12, creatinine 0.9.|The kidneys
were not working well.;Kidney function was impaired.|Kidney function was normal.|The patient is on dialysis.;The patient will
need a kidney transplant.

Hemoglobin was 7.2 and hematocrit 22.;She was found to have a hemoglobin of 6.9.|Hemoglobin was 14.1.;Hematocrit 43,
hemoglobin 14.6.|The patient was anemic.;The blood count was low.|The patient was not anemic.;The hemoglobin was normal.|The
patient received a blood transfusion.;The patient has a bleeding ulcer.

White count was 18.5 with a left shift.;WBC 21,000.|White count 6.2.;WBC was within normal limits at 7.1.|The white blood cell
count was high.;There was leukocytosis.|The white count was normal.|The patient has pneumonia.;The blood culture grew
bacteria.

Potassium was 2.8.;The potassium was found to be low at 2.9.|Potassium 4.1.;Electrolytes were within normal limits.|The
patient had hypokalemia.;The potassium was too low.|The potassium level was normal.|The patient takes a diuretic.

Sodium was 121.;She was hyponatremic at 123.|Sodium 140.;Sodium was normal at 138.|The sodium level was low.|The sodium was in
the normal range.|The patient drank too much water.

Fasting blood sugar 286.;Glucose was 412 on arrival.;Hemoglobin A1c was 10.4.|Fasting glucose was 88.;Hemoglobin A1c was
5.2.|The blood sugar was elevated.;The blood sugar is poorly controlled.|The blood sugar was normal.|The patient takes
metformin.;The patient has diabetic retinopathy.

Troponin was elevated at 4.5.;Cardiac enzymes were positive.|Troponins were negative times three.;Cardiac enzymes were
negative.|The heart muscle enzymes were raised.;There was evidence of heart damage in the blood.|The cardiac enzymes were
normal.;There was no sign of a heart attack in the blood tests.|The patient had a cardiac catheterization.

TSH was 0.01.;Free T4 was markedly elevated.|TSH was 2.1.;Thyroid function tests were normal.|Thyroid testing was
abnormal.|The thyroid tests were normal.|The patient has had thyroid surgery.

AST 340, ALT 412.;Liver enzymes were markedly elevated.;LFTs were up.|LFTs were within normal limits.;AST 22, ALT 18.|The
liver tests were abnormal.|The liver tests were normal.|The patient has hepatitis C.;The patient drinks alcohol.

INR was 5.6.;INR supratherapeutic at 4.8.|INR 1.0.;The INR was 1.1.|The blood was too thin.;The INR was high.|The INR was not
elevated.|The patient had a nosebleed.

Platelet count was 32,000.;She was thrombocytopenic.|Platelets 240.;The platelet count was 310,000.|The platelets were
low.|The platelet count was normal.|The patient had easy bruising.

Sedimentation rate was 98.;The ESR was elevated at 76.|Sed rate was 5.;CRP less than 0.3.|A marker of inflammation was
high.|The inflammatory marker was normal.|The patient has arthritis.

Blood pressure 196/110.;He was markedly hypertensive on arrival.|Blood pressure 118/72.;Blood pressure was well
controlled.|The blood pressure was high.|The blood pressure was normal.|The patient forgot to take his blood pressure pills.

BP 78/40.;She became hypotensive.|Her blood pressure was 124/76.;Hemodynamically stable.|The blood pressure was low.|The blood
pressure was not low.|The patient was in septic shock.

Heart rate 142.;He was tachycardic in the 130s.|Pulse 72 and regular.;Heart rate was 68.|The heart was beating fast.|The heart
rate was normal.|The patient had palpitations.

Temperature was 39.4.;She spiked a fever to 103.;Febrile on admission.|Afebrile.;Temperature 36.8.;He remained afebrile
throughout.|The patient had a fever.;The temperature was elevated.|The patient did not have a fever.;The temperature was
normal.|The patient had chills.;The patient was given acetaminophen.

O2 saturation 82% on room air.;He was hypoxemic and placed on a nonrebreather.;Desaturated to the low 80s.|Oxygen saturation
98% on room air.;She was saturating well on room air.|The oxygen level was low.;The patient needed oxygen.|The oxygen level
was normal.;The patient did not need oxygen.|The patient has emphysema.;The patient uses oxygen at home.

Respiratory rate 36 with retractions.;She was in moderate respiratory distress.|Breathing comfortably.;No respiratory
distress.|The patient had trouble breathing.|The patient breathed without difficulty.|The patient has asthma.

He complains of shortness of breath.;Dyspnea on exertion for two weeks.|He denies shortness of breath.;No dyspnea.|The patient
is short of breath.;The patient has dyspnea.|The patient has no trouble breathing.|The patient has heart failure.

She presented with chest pain.;He reports substernal chest pressure.|She denies chest pain.;No chest pain or pressure.|The
patient had pain in the chest.|The patient has no chest pain.|The pain was caused by a heart attack.;The pain went away with
nitroglycerin.

Complains of severe headache.;He has had migraines since childhood.|No headaches.;She denies headache.|The patient has
headaches.;The patient's head hurts.|The patient does not have headaches.|The patient had a CT scan of the head.

He has had nausea and vomiting for three days.;Emesis times four.|No nausea or vomiting.;Denies emesis.|The patient threw
up.;The patient has been vomiting.|The patient did not vomit.|The patient has food poisoning.;The vomit contained blood.

She has had watery diarrhea.;Loose stools six times a day.|No diarrhea.;Bowel movements are regular.|The patient has loose
stools.|The patient has normal bowel movements.|The patient recently took antibiotics.

Hematochezia noted.;Stool was guaiac positive.;He passed bright red blood per rectum.|Stool was guaiac negative.;No melena or
hematochezia.|There was blood in the stool.|No blood was found in the stool.|The patient has hemorrhoids.;The patient has
colon cancer.

She reports abdominal pain.;Right upper quadrant tenderness.|Abdomen soft and nontender.;No abdominal pain.|The belly was
painful.|The belly did not hurt.|The patient has gallstones.;The patient had an appendectomy.

Patient reports dysuria and frequency.;Burning with urination.|Denies dysuria.;No urinary complaints.|It hurts the patient to
urinate.|The patient has no trouble urinating.|The urine culture grew E. coli.

He had a syncopal episode.;She passed out at church.|No syncope.;He denies loss of consciousness.|The patient fainted.;The
patient lost consciousness.|The patient did not faint.|The patient hit the head.

She had a generalized tonic-clonic seizure.;Witnessed seizure activity.|No seizure activity.;He has never had a
convulsion.|The patient had a seizure.|The patient did not have seizures.|The patient takes phenytoin.;The patient has a brain
tumor.

Weakness of the left arm and leg.;Left hemiparesis.|Strength 5/5 throughout.;No focal weakness.|The patient was weak on one
side.|The patient had normal strength.|The patient had a stroke.

He has lost 20 pounds over the past two months.;Significant weight loss.|His weight has been stable.;No weight loss.|The
patient lost weight.|The patient's weight did not change.|The patient has a poor appetite.;The patient has cancer.

2+ pitting edema of both legs.;Lower extremities show marked swelling.|No edema.;Extremities without clubbing, cyanosis, or
edema.|The legs were swollen.|There was no swelling of the legs.|The patient has congestive heart failure.

Numbness in the feet.;Decreased sensation to light touch in both legs.|Sensation is intact.;No numbness or tingling.|The
patient has lost feeling in the legs.|The feeling was normal.|The patient has diabetes.

Alert and oriented times three.;She was awake and appropriate.|He was confused and disoriented.;She was obtunded and
unresponsive.|The patient was mentally clear.;The patient knew where he was.|The patient was confused.|The patient lives with
a daughter.

He uses a walker.;She is wheelchair bound.;Needs assistance to ambulate.|Ambulating independently.;He walks without
assistance.|The patient needs help to walk.|The patient can walk without help.|The patient fell last month.

He smokes two packs per day.;Current smoker, 40-pack-year history.|Lifelong nonsmoker.;She has never smoked.;Denies tobacco
use.|The patient smokes.;The patient uses tobacco.|The patient does not smoke.;The patient has never used cigarettes.|The
patient has lung cancer.;The patient wants to quit smoking.

He quit smoking ten years ago.;Former smoker.|He continues to smoke one pack a day.;Active tobacco use.|The patient no longer
smokes.;The patient used to smoke.|The patient still smokes.|The patient has COPD.

He drinks a six-pack of beer daily.;History of alcohol abuse.|No alcohol use.;She does not drink.;Denies ethanol.|The patient
drinks alcohol.|The patient does not drink alcohol.|The patient has cirrhosis.;The patient had delirium tremens.

She is married and has two children.;He lives with his wife.|He is a widower and lives by himself.;She is single and lives
alone.|The patient has a spouse.;The patient lives with family.|The patient lives alone.;The patient has no spouse.|The
patient is retired.

Mother had breast cancer.;Strong family history of coronary artery disease.|Family history is noncontributory.;No family
history of heart disease or cancer.|A disease runs in the family.|The family history is negative.|The patient has high
cholesterol.

Allergic to penicillin, which causes hives.;Sulfa allergy.|No known drug allergies.;NKDA.|The patient has a drug allergy.;The
patient should not take a certain antibiotic.|The patient has no allergies to medicines.|The patient was given vancomycin.

Type 2 diabetes mellitus, on insulin.;Past medical history of diabetes.|She does not have diabetes.;No history of
diabetes.|The patient is diabetic.;The patient has high blood sugar disease.|The patient is not diabetic.|The patient has
kidney disease.;The patient had a foot amputated.

History of hypertension.;Known HTN on lisinopril.|No history of hypertension.;She has never had high blood pressure.|The
patient has high blood pressure.|The patient does not have hypertension.|The patient had a stroke last year.

History of myocardial infarction in 1998.;He had an MI two years ago.|No prior cardiac history.;He has never had a heart
attack.|The patient has had a heart attack.;The patient has heart disease.|The patient never had heart trouble.|The patient
has a stent.;The patient takes aspirin.

Atrial fibrillation with rapid ventricular response.;EKG showed atrial fibrillation.|EKG showed normal sinus rhythm.;Regular
rate and rhythm.|The heart rhythm was irregular.|The heart rhythm was normal.|The patient takes warfarin.

History of CVA with residual aphasia.;She had a stroke in 2004.|No history of stroke or TIA.;No prior cerebrovascular
events.|The patient has had a stroke.|The patient never had a stroke.|The patient takes clopidogrel.;The patient has carotid
disease.

COPD on home oxygen.;Long history of emphysema.;He has asthma.|Lungs are healthy, no history of asthma or COPD.;No pulmonary
disease.|The patient has a chronic lung disease.|The patient has no lung disease.|The patient smoked for many years.;The
patient uses a steroid inhaler.

Status post cholecystectomy.;Her gallbladder was removed in 1990.|The gallbladder is in situ.;No previous surgery.|The patient
no longer has a gallbladder.;The patient has had an operation.|The patient has never had surgery.|The patient had gallstones.

Status post appendectomy.;He had a tonsillectomy as a child.;Surgical history: hysterectomy.|No prior surgeries.;Past surgical
history is negative.|An organ was removed in the past.;The patient had surgery before.|The patient has never been operated
on.|There were complications after the surgery.

Status post left below-knee amputation.;Right BKA.|All extremities intact.;Both legs are intact.|Part of a leg was
removed.|The patient has both legs.|The patient has a prosthesis.;The amputation was due to diabetes.

Pacemaker in place.;Status post pacemaker placement.|No pacemaker.;He does not have an implanted cardiac device.|The patient
has a device in the heart.|The patient has no pacemaker.|The patient had complete heart block.

Chest x-ray showed right lower lobe infiltrate.;Chest film reveals left lower lobe consolidation.|Chest x-ray was clear.;No
acute cardiopulmonary process on chest film.|The chest x-ray was abnormal.;The lungs showed signs of pneumonia.|The lungs were
clear on the x-ray.;The chest x-ray was normal.|The patient was treated with levofloxacin.;The patient has a productive cough.

Chest x-ray showed cardiomegaly.;The cardiac silhouette is enlarged.|Heart size is normal.;The cardiac silhouette is within
normal limits.|The heart was enlarged.|The heart was not enlarged.|The patient has hypertension.

Small bilateral pleural effusions.;There is a large left pleural effusion.|No pleural effusion.;The costophrenic angles are
sharp.|There was fluid around the lung.|There was no fluid around the lungs.|The fluid was drained with a needle.

CT of the head showed an acute subdural hematoma.;Head CT revealed intracranial hemorrhage.|CT of the head was negative.;No
intracranial bleed.|There was bleeding in the head.;The head scan was abnormal.|The head scan was normal.;There was no
bleeding in the brain.|The patient fell down the stairs.

MRI showed a 3 cm mass in the left kidney.;Ultrasound demonstrated a solid liver lesion.|No masses were seen.;The kidneys and
liver are unremarkable.|A growth was found.;The imaging showed a mass.|The imaging showed no mass.|The mass was cancer.;The
mass will be biopsied.

X-ray shows a displaced fracture of the distal radius.;There is a hip fracture.|No fracture or dislocation.;Films were
negative for fracture.|A bone was broken.|No bone was broken.|The patient fell.;The patient has osteoporosis.

EF was 20%.;Ejection fraction severely depressed.;LV systolic function is markedly reduced.|Ejection fraction 60%.;Normal left
ventricular systolic function.|The heart pumps poorly.;The heart's pumping function was reduced.|The heart pumps normally.|The
patient has a defibrillator.

Severe aortic stenosis.;There is moderate mitral regurgitation.|The valves are structurally normal.;No valvular disease.|A
heart valve is diseased.|The heart valves are normal.|The patient needs valve surgery.

LAD with 90% stenosis.;The circumflex is occluded.;Three-vessel coronary disease.|Coronary arteries are angiographically
normal.;No significant coronary stenosis.|A coronary artery is narrowed.;The patient has coronary artery disease.|The coronary
arteries are normal.|The patient has diabetes.;A stent was placed.

Doppler revealed a DVT in the right leg.;Ultrasound positive for deep venous thrombosis.|Dopplers were negative for DVT.;No
evidence of deep venous thrombosis.|There was a blood clot in the leg.|There was no clot in the leg.|The patient recently had
a long flight.;The patient has leg pain.

CT angiogram showed pulmonary emboli.;V/Q scan high probability for PE.|CT negative for pulmonary embolism.;No evidence of
PE.|There were blood clots in the lungs.|There were no clots in the lungs.|The patient coughed up blood.

Colonoscopy revealed two polyps.;Colonoscopy showed a sigmoid mass.|Colonoscopy was normal.;Unremarkable colonoscopy to the
cecum.|Something abnormal was found in the colon.|The colon looked normal.|The patient has rectal bleeding.

EGD showed a duodenal ulcer.;Endoscopy revealed erosive gastritis.|EGD was unremarkable.;Upper endoscopy was normal.|The upper
endoscopy was abnormal.;The stomach or bowel lining was damaged.|The upper endoscopy showed nothing abnormal.|The patient
takes ibuprofen.

Biopsy was positive for adenocarcinoma.;Pathology showed malignant cells.|Biopsy was benign.;Pathology negative for
malignancy.|The biopsy showed cancer.|The biopsy did not show cancer.|The patient will receive chemotherapy.;The cancer has
spread to the liver.

Urine culture grew E. coli.;Blood cultures positive for staph aureus.|Cultures showed no growth.;Blood cultures were
negative.|The culture grew bacteria.;The culture was positive.|The culture was negative.|The patient was treated with
ciprofloxacin.

Rapid strep positive.;HIV test came back positive.|Rapid strep negative.;HIV was nonreactive.|The test was positive.|The test
was negative.|The patient has a sore throat.;The patient's partner is sick.

Urinalysis positive for nitrites and leukocytes.;UA showed many white cells.|Urinalysis was clean.;UA negative.|The urine test
was abnormal.|The urine test was normal.|The patient has a catheter.

Pregnancy test positive.;She is 24 weeks pregnant.|Pregnancy test negative.;She is postmenopausal.|The patient is
pregnant.|The patient is not pregnant.|The patient has other children.

Lasix was started.;She was begun on furosemide.|Lasix was discontinued.;Furosemide was held.|The patient was given a
diuretic.;A water pill was added.|The diuretic was stopped.|The patient has leg swelling.

We will start metoprolol 25 mg twice daily.;He was placed on a beta blocker.|Metoprolol was stopped due to bradycardia.;The
beta blocker was discontinued.|The patient was given a medicine for the heart.;Metoprolol was started.|Metoprolol was
stopped.|The patient has high blood pressure.

Lisinopril was increased to 40 mg.;The dose of insulin was raised.|Lisinopril was decreased to 5 mg.;The insulin dose was cut
in half.|The dose was increased.;The patient gets more of the medicine than before.|The dose was lowered.|The patient had side
effects.

Prednisone taper over two weeks.;Will wean steroids.|Prednisone was increased.;Steroid dose doubled.|The steroid dose is being
reduced.|The steroid dose was increased.|The patient has asthma.

Coumadin was continued.;She remains on warfarin.|Warfarin was held before surgery.;Coumadin discontinued.|The patient takes a
blood thinner.|The blood thinner was stopped.|The patient has atrial fibrillation.;The patient has had a blood clot.

He was treated with IV antibiotics.;She received ceftriaxone and azithromycin.;Vancomycin was given.|No antibiotics were
given.;He did not receive any antibiotics.|The patient got antibiotics.;The patient was treated for an infection.|The patient
was not given antibiotics.|The patient is allergic to penicillin.

Zoloft 50 mg daily.;He takes Prozac.|He is on no psychiatric medications.;Antidepressant was stopped.|The patient takes an
antidepressant.|The patient does not take antidepressants.|The patient sees a psychiatrist.

Takes aspirin 81 mg daily.;Meds: aspirin, lipitor, lisinopril.|She is on no medications.;Takes no medicines at home.|The
patient takes medicine regularly.|The patient takes no medicines.|The patient has a pharmacy near home.

He was intubated for airway protection.;She required mechanical ventilation.|He was extubated and is doing well.;Breathing on
his own without a ventilator.|A machine helped the patient breathe.;The patient had a breathing tube.|The patient breathed
without a machine.|The patient had pneumonia.

Tolerating a regular diet.;Eating and drinking well.|Not tolerating oral intake.;NPO with TPN.;Unable to eat.|The patient can
eat.;The patient takes food by mouth.|The patient cannot eat by mouth.|The patient lost weight.

PEG tube was placed for feeding.;Receives G-tube feeds.|Takes all nutrition by mouth.;The feeding tube was removed.|The
patient is fed through a tube.|The patient has no feeding tube.|The patient had a stroke.

Foley catheter in place.;An indwelling catheter was placed.|Foley was removed.;Voiding spontaneously without a catheter.|The
patient has a bladder catheter.|The patient has no bladder catheter.|The patient has a urinary infection.

Wound is red with purulent drainage.;The incision is erythematous and draining pus.|The wound is clean, dry, and
intact.;Incision healing well.|The wound looks infected.|The wound is healing without infection.|The patient had a fever.

The patient was discharged home.;Sent home in stable condition.|He was admitted to the ICU.;She remains hospitalized.|The
patient left the hospital.;The patient went home.|The patient stayed in the hospital.|The patient's family was happy.

He left against medical advice.;She signed out AMA.|He stayed until discharge was recommended.;She completed her hospital
course.|The patient left before the doctors wanted.|The patient completed the treatment.|The patient was angry with the
nurses.

She refused the procedure.;He declined surgery.;The patient does not want dialysis.|She agreed to the procedure.;He consented
to surgery.|The patient did not want the treatment.|The patient agreed to the treatment.|The patient was afraid of anesthesia.

Patient expired on hospital day 3.;He was pronounced dead.|Patient survived to discharge.;She recovered fully.|The patient
died.|The patient is alive.|An autopsy was done.

Symptoms have improved.;Her pain is much better.;The cough has resolved.|Symptoms are worse.;Her pain is getting worse.;The
cough persists.|The patient feels better.;The symptoms got better.|The symptoms have not improved.;The patient is getting
worse.|The patient changed medicines.

The procedure was tolerated well without complications.;Surgery was uneventful.|Surgery was complicated by bleeding.;The
procedure was aborted due to a perforation.|The procedure went well.|There was a complication.|The procedure took two hours.

She has depression and anxiety.;Mood is depressed.|Mood is good.;No history of depression.|The patient is depressed.;The
patient has a mood disorder.|The patient is not depressed.|The patient was hospitalized for depression.

He endorses suicidal ideation with a plan.;She took an overdose in a suicide attempt.|No suicidal ideation.;Denies thoughts of
self-harm.|The patient has thought about suicide.|The patient does not want to hurt himself.|The patient owns a gun.

Hears voices telling him to hurt others.;Auditory hallucinations present.|No hallucinations or delusions.;Denies hearing
voices.|The patient hears things that are not there.|The patient has no hallucinations.|The patient has schizophrenia.

Born at 28 weeks gestation.;Former 30-week preemie.|Born at term.;Full-term infant at 39 weeks.|The baby was born early.;The
infant was premature.|The baby was born on time.|The baby was delivered by cesarean section.

Immunizations are up to date.;All vaccines have been given.|He has not received any immunizations.;Behind on vaccinations.|The
child is vaccinated.|The child has not been vaccinated.|The child goes to daycare.

Delivered by C-section.;Repeat cesarean section performed.|Spontaneous vaginal delivery.;Normal vaginal birth.|The baby was
delivered by an operation.|The baby was born vaginally.|The baby weighed seven pounds.

Right knee pain.;The right shoulder is tender.;Right-sided chest tube.|Left knee pain.;The left shoulder is tender.;Left-sided
chest tube.|The problem is on the right side.|The problem is on the left side.|The patient plays tennis.

Bilateral cataracts.;Both kidneys are affected.;Bilateral knee pain.|Only the left eye is affected.;The disease is
unilateral.|Both sides are affected.|Only one side is affected.|The patient is old.

He is legally blind.;Visual acuity 20/400.|Vision is 20/20.;No visual complaints.|The patient cannot see well.|The patient
sees well.|The patient wears glasses.

Hard of hearing, wears hearing aids.;Profound hearing loss.|Hearing grossly intact.;No hearing loss.|The patient does not hear
well.|The patient hears normally.|The patient worked in a factory.

She has a rash on her trunk.;Erythematous papules on the arms.|Skin is clear.;No rashes or lesions.|There is something wrong
with the skin.;The patient has a rash.|The skin is normal.|The rash itches.;The patient is allergic to a detergent.

The neck is supple.;Full range of motion of the neck.|Nuchal rigidity present.;Limited range of motion of the neck.|The neck
moves freely.|The neck is stiff.|The patient has meningitis.

Lungs are clear to auscultation bilaterally.;Breath sounds are clear.|Diffuse wheezes and crackles.;Coarse rhonchi on both
sides.|The lungs sounded normal.|The lungs sounded abnormal.|The patient coughs at night.

Thyroid is enlarged with a nodule.;Large goiter.|Thyroid is not enlarged.;No thyromegaly.|The thyroid gland is bigger than
normal.|The thyroid gland is of normal size.|The patient takes thyroid hormone.

Enlarged lymph nodes in the neck.;Cervical lymphadenopathy.|No lymphadenopathy.;No palpable nodes.|The lymph nodes were
enlarged.|The lymph nodes were normal.|The patient has lymphoma.

The liver is enlarged.;Hepatosplenomegaly on exam.|No hepatosplenomegaly.;Liver of normal size.|An organ in the belly was
enlarged.|The liver was of normal size.|The patient has jaundice.

He is obese with a BMI of 41.;Morbid obesity.|Thin, BMI 19.;Normal body weight.|The patient is overweight.|The patient is not
overweight.|The patient has sleep apnea.

She sleeps poorly.;Insomnia for months.|Sleeping well.;No trouble sleeping.|The patient has trouble sleeping.|The patient
sleeps well.|The patient takes a sleeping pill.

Stress test was positive for ischemia.;Abnormal nuclear stress test.|Stress test was negative.;Normal treadmill test.|The
stress test showed a problem with blood flow to the heart.|The stress test was normal.|The patient will have a
catheterization.

EEG showed epileptiform discharges.;EEG was abnormal.|EEG was normal.;Unremarkable EEG.|The brain wave test was abnormal.|The
brain wave test was normal.|The patient takes seizure medicine.

Compliant with medications.;Takes her medicines as prescribed.|Noncompliant with medications.;He stopped taking his pills on
his own.|The patient takes the medicines as told.|The patient does not take the medicines as told.|The patient cannot afford
medicines.

Full code.;Wants everything done.|DNR/DNI.;Comfort care only.|The patient wants to be resuscitated.|The patient does not want
to be resuscitated.|The patient has a living will.

She works as a teacher.;He is employed as a mechanic.|Currently unemployed.;He is on disability and does not work.|The patient
has a job.|The patient does not work.|The patient went to college.

The pain is constant.;The cough has been going on for six months.|The pain comes and goes.;The cough started yesterday.|The
problem has lasted a while without stopping.|The problem is new or not constant.|The patient took pain medicine.

He was seen by cardiology.;Cardiology was consulted.|No consultations were obtained.;Cardiology did not see the patient.|A
heart specialist was involved.|No specialist was asked.|The cardiologist ordered an echocardiogram.

Follow up in two weeks.;Return to clinic in one month.|No follow-up is needed.;She may return as needed.|The patient should
come back.|The patient does not have to come back.|The patient missed the last appointment.

Estimated blood loss was 2000 cc.;Significant intraoperative bleeding.|Minimal blood loss.;Estimated blood loss less than 5
cc.|The patient lost a lot of blood.|Little blood was lost.|The patient got a transfusion.

She received two units of packed red blood cells.;He was transfused.|No transfusion was required.;He did not need any
blood.|The patient was given blood.|The patient was not given blood.|The patient had surgery.

General anesthesia was used.;Under general endotracheal anesthesia.|Local anesthesia only.;Awake under local lidocaine.|The
patient was put to sleep.|The patient was awake during the procedure.|The patient felt sick after the procedure.

Physical therapy was started and she is making progress.;Working with PT daily.|She has not had any physical therapy.;Declined
physical therapy.|The patient had physical therapy.|The patient did not have physical therapy.|The patient will go to a
nursing home.

Discharged to a skilled nursing facility.;Will go to rehab.|Discharged to home with family.;Returned to his own home.|The
patient went to a care facility.|The patient went home.|The patient has a pressure sore.

Pupils equal and reactive.;Cranial nerves II-XII intact.|Right pupil fixed and dilated.;Facial droop noted.|The nerve exam of
the head was normal.|The nerve exam of the head was abnormal.|The patient has double vision.

ICD fired twice.;The device delivered a shock.|No ICD discharges.;The device has never fired.|The patient received a shock
from the device.|The device gave no shocks.|The patient's battery was replaced.

Hyperlipidemia on a statin.;LDL was 190.|Cholesterol is normal.;LDL 62.|The cholesterol was high.|The cholesterol was not
high.|The patient eats fatty food.

Cardiac arrest with return of circulation after CPR.;He coded and was resuscitated.|No arrests occurred.;He never required
resuscitation.|The patient's heart stopped.|The heart never stopped.|The patient has brain damage.

Gout in the right toe with uric acid of 9.;Uric acid was elevated.|Uric acid normal.;No history of gout.|The uric acid was
high or caused gout.|The uric acid was normal.|The patient eats a lot of meat.

She was taken to the operating room emergently.;The patient underwent surgery without delay.|Surgery was postponed until next
month.;The operation was cancelled.|The patient was operated on.|The operation did not take place.|The patient's family signed
the consent.

He has been seizure free for two years.;No seizures since the last visit.|She continues to have two seizures per
week.;Seizures remain frequent.|The seizures are under control.|The seizures are not under control.|The patient drives a car.

MRI of the lumbar spine showed a disc herniation at L4-L5.;There is a large disc protrusion.|MRI of the lumbar spine was
unremarkable.;No disc herniation.|A disc of the spine has slipped.;The back scan was abnormal.|The spine looked normal on the
scan.|The patient has leg pain.;The patient will have back surgery.

She can climb two flights of stairs without stopping.;He jogs three miles a day.|He gets winded walking to the bathroom.;Can
only walk half a block.|The patient tolerates exercise well.|The patient can hardly exert himself.|The patient belongs to a
gym.

The wound dehisced on postoperative day 5.;The incision has opened up.|The incision is well approximated.;The wound edges are
closed.|The wound came apart.|The wound is closed.|The patient has diabetes.

Chemotherapy was started last week.;Currently receiving cycle 3 of carboplatin.|She has not had chemotherapy.;He refused
chemotherapy.|The patient is being treated for cancer.|The patient received no chemotherapy.|The patient lost her hair.;The
patient has nausea.

CT showed metastatic disease in the liver.;There are multiple bony metastases.|No evidence of metastatic disease.;Staging
workup was negative for spread.|The cancer has spread.|The cancer has not spread.|The patient has lost weight.;The patient
will go to hospice.

The tumor has decreased in size.;Follow-up scan shows shrinkage of the mass.|The tumor has grown.;Interval enlargement of the
mass.|The tumor got smaller.|The tumor got bigger.|The patient had radiation.

Right hip was replaced in 2001.;Status post left total knee arthroplasty.|No joint replacements.;Native joints.|The patient
has an artificial joint.|The patient has no artificial joints.|The patient had severe arthritis.

Hypoglycemic with a sugar of 38.;Blood glucose fell to 41.|No hypoglycemic episodes.;Her sugars have never been below 80.|The
blood sugar dropped too low.|The blood sugar was never too low.|The patient took too much insulin.

Ammonia level was 140 and he had asterixis.;He has hepatic encephalopathy.|No asterixis and ammonia was normal.;No
encephalopathy.|The liver disease affected the brain.|The liver did not affect the brain.|The patient is waiting for a
transplant.

Ascites noted, and paracentesis removed 5 liters.;The abdomen is distended with a fluid wave.|No ascites.;Abdomen is flat with
no fluid.|There was fluid in the belly.|There was no fluid in the belly.|The patient has cirrhosis from alcohol.

Nephrolithiasis with a 6 mm stone in the ureter.;CT revealed a kidney stone.|No renal calculi.;No stones were seen.|The
patient has a stone in the urinary tract.|The patient has no kidney stone.|The patient has blood in the urine.

PSA was 18.;Prostate is enlarged and nodular.|PSA 0.9.;Prostate is smooth and not enlarged.|There may be something wrong with
the prostate.;The prostate finding was abnormal.|The prostate finding was normal.|The patient will have a prostate biopsy.

Mammogram showed a suspicious cluster of calcifications.;There is a lump in the left breast.|Mammogram was normal.;No breast
masses.|Something suspicious was found in the breast.|Nothing abnormal was found in the breast.|The patient's sister had
breast cancer.

Pap smear showed high-grade dysplasia.;Abnormal Pap smear.|Pap smear was normal.;Last Pap smear negative.|The cervical smear
was abnormal.|The cervical smear was normal.|The patient has HPV.

Baby is breastfeeding well.;Infant feeds vigorously.|Infant is not feeding well.;Poor suck and poor feeding.|The baby feeds
well.|The baby does not feed well.|The baby is gaining weight.

Apgars were 9 and 9.;The newborn cried at once.|Apgars 2 and 4, and the infant was intubated.;The newborn was limp and
apneic.|The newborn was in good condition.|The newborn was in poor condition.|The mother had a long labor.

Bilirubin was 19 and phototherapy was begun.;The infant is jaundiced.|No jaundice.;Bilirubin was low.|The baby's skin is
yellow.;The bilirubin was high.|The baby has no jaundice.|The baby is breast-fed.

Growth at the 3rd percentile.;Failure to thrive.|Growing well along the 60th percentile.;Good weight gain.|The child is not
growing well.|The child is growing well.|The child vomits after meals.

Development is delayed, not yet walking at 20 months.;He does not speak any words at age three.|Milestones have been met on
time.;Development is appropriate for age.|The child is behind in development.|The child develops normally.|The child was born
early.

The eardrum is red and bulging.;Otitis media on the left.|Tympanic membranes are clear.;Ears are normal.|The child has an ear
infection.|The ears are normal.|The child had ear tubes.

Pharynx is red with exudate.;Tonsils are enlarged and inflamed.|Oropharynx is clear.;Throat is not red.|The throat was
inflamed.|The throat looked normal.|The strep test was positive.

Nasal congestion and rhinorrhea.;Runny nose for a week.|Nose is clear.;No nasal discharge.|The patient has a runny nose.|The
patient's nose is clear.|The patient is allergic to pollen.

She coughs up yellow sputum.;Productive cough.|No cough.;Denies cough or sputum.|The patient has a cough.|The patient does not
cough.|The patient has tuberculosis.

PPD was positive at 15 mm.;Quantiferon positive.|PPD negative.;TB skin test showed no induration.|The tuberculosis test was
positive.|The tuberculosis test was negative.|The patient comes from abroad.

Hemiplegia with slurred speech.;Speech is dysarthric.|Speech is fluent and clear.;No speech difficulty.|The patient has
trouble speaking.|The patient speaks normally.|The patient bit his tongue.

He failed the swallow study and aspirated thin liquids.;Swallowing evaluation showed aspiration.|Swallow study was normal.;No
aspiration was seen.|The patient has trouble swallowing.|The patient swallows normally.|The patient had pneumonia.

Memory is poor, MMSE 15 of 30.;Progressive dementia.|Memory intact.;MMSE 30 of 30.|The patient has trouble with memory.|The
patient's memory is good.|The patient lives in a nursing home.

Tremor of the right hand at rest.;Resting tremor noted.|No tremor.;Hands are steady.|The hand shakes.|The patient does not
shake.|The patient has Parkinson disease.

Gait is unsteady and he has fallen twice.;Ataxic gait.|Gait is normal.;Steady gait with no falls.|The patient is unsteady on
his feet.|The patient walks steadily.|The patient broke a hip.

Carpal tunnel release was performed on the left.;Left hand surgery last year.|No hand surgery.;The carpal tunnel syndrome was
managed with splints only.|The patient had an operation on the hand.|The patient had no operation on the hand.|The patient
types a lot at work.

The patient was given morphine.;She received Dilaudid for pain.;Pain was controlled with Percocet.|No narcotics were
needed.;Pain was controlled with Tylenol only.|The patient got an opioid.|The patient did not need opioids.|The patient is
addicted to pain medicine.

Urine drug screen positive for cocaine.;He uses heroin.|Urine drug screen negative.;No illicit drug use.|The patient uses
illegal drugs.|The patient does not use illegal drugs.|The patient has been in jail.

Home health nursing was arranged.;A visiting nurse will change the dressing.|No home services were needed.;He will care for
the wound himself.|A nurse will visit the patient.|Nobody will come to the patient's home.|The patient lives alone.

She was transferred to the intensive care unit.;Admitted to the ICU.|He was managed on the regular floor.;Did not require ICU
care.|The patient needed intensive care.|The patient did not need intensive care.|The patient was on a ventilator.

She was seen in the emergency room and sent home.;He was evaluated in the ER and released.|He was admitted from the emergency
room.;Admitted to the hospital after ER evaluation.|The patient went home from the emergency room.;The patient was not
admitted.|The patient was admitted to the hospital.|The patient came by ambulance.

Hospitalized three times this year.;Multiple admissions for heart failure.|This is her first hospitalization.;He has never
been hospitalized before.|The patient has been in the hospital before.|The patient was never in a hospital before.|The patient
does not follow the diet.

Length of stay was one night.;She stayed overnight.|He was in the hospital for six weeks.;Prolonged hospital stay.|The stay
was short.|The stay was long.|The patient had her own room.

Heparin drip was started.;He was anticoagulated with Lovenox.|Anticoagulation was contraindicated.;No anticoagulation was
given because of bleeding.|The patient was given a blood thinner.|The patient was not given a blood thinner.|The patient has a
clotting disorder.

He received tPA.;Thrombolytics were given.|He was outside the window for tPA.;Thrombolysis was not performed.|A
clot-dissolving medicine was given.|No clot-dissolving medicine was given.|The patient recovered fully.

Cardioverted to sinus rhythm.;He converted to normal sinus rhythm.|Remains in atrial fibrillation.;Cardioversion was
unsuccessful.|The heart rhythm became normal.|The rhythm is still abnormal.|The patient takes amiodarone.

CABG times three in 1999.;Status post bypass surgery.|No prior cardiac surgery.;He has never had heart surgery.|The patient
has had heart surgery.|The patient never had heart surgery.|The patient has a family history of heart disease.

A drug-eluting stent was placed in the LAD.;PCI with stent to the RCA.|No stent was placed.;Medical management was chosen
instead of stenting.|A blocked artery was opened with a stent.|The artery was not stented.|The patient smokes.

Creatinine improved from 3.0 to 1.2.;Renal function recovered.|Creatinine rose from 1.2 to 3.0.;Renal function
deteriorated.|The kidneys got better.|The kidneys got worse.|The patient received contrast.

Hemodialysis on Monday, Wednesday, and Friday.;ESRD on dialysis.|He does not require dialysis.;No need for dialysis at this
time.|The patient's kidneys have failed.;A machine cleans the patient's blood.|The patient is not on dialysis.|The patient
will get a new kidney.

Blood sugars have been well controlled.;Her A1c is at goal.|Blood sugars have been running in the 300s.;Poorly controlled
diabetes.|The diabetes is under control.|The diabetes is out of control.|The patient checks sugars four times a day.

On CPAP for sleep apnea.;Obstructive sleep apnea confirmed by sleep study.|Sleep study was normal.;No sleep apnea.|The patient
stops breathing during sleep.|The patient has no sleep apnea.|The patient snores.

She has osteoporosis with a T-score of -3.2.;Bone density is low.|Bone density is normal.;DEXA was normal.|The bones are
weak.|The bones are of normal strength.|The patient takes calcium.

Rheumatoid arthritis with swollen joints.;Synovitis of the wrists.|Joints without swelling.;No arthritis.|The joints are
inflamed.|The joints are normal.|The patient takes methotrexate.

ANA positive at 1:640.;Lupus serologies were positive.|ANA negative.;Autoimmune workup was unrevealing.|The test for
autoimmune disease was positive.|The test for autoimmune disease was negative.|The patient has a rash on the face.

Lymph nodes were negative, 0 of 14.;Margins were clear.|Four of 12 nodes contained tumor.;Margins were positive.|The cancer
seems to have been removed completely.|Cancer was left or had reached the nodes.|The patient will have radiation.

Cellulitis of the left leg.;The leg is warm, red, and tender.|No cellulitis.;Skin without redness or warmth.|The skin of the
leg is infected.|The skin is not infected.|The patient was bitten by an insect.

Decubitus ulcer on the sacrum.;Stage III pressure sore.|Skin is intact without breakdown.;No pressure sores.|The patient has a
bed sore.|The patient has no bed sores.|The patient is paralyzed.

Laceration repaired with six sutures.;The cut was stitched.|The laceration did not need sutures.;The wound was left open.|The
wound was sewn.|The wound was not sewn.|The patient cut himself with a knife.

Cast was applied.;The arm was placed in a splint.|The cast was removed.;No immobilization was needed.|The limb was
immobilized.|The limb is not in a cast.|The patient fell from a ladder.

The tube was removed on day two.;Drain was pulled.|The drain remains in place.;Tube still in place.|The tube or drain is
gone.|The tube or drain is still there.|The patient was afraid of the pain.

The appendix was normal.;Appendix not inflamed.|Acute appendicitis was found.;The appendix was inflamed and perforated.|The
appendix was healthy.|The appendix was diseased.|The patient had a laparoscopy.

Gallstones seen on ultrasound.;Cholelithiasis.|Gallbladder without stones.;No cholelithiasis on ultrasound.|There are stones
in the gallbladder.|There are no stones in the gallbladder.|The gallbladder will be removed.

Amylase and lipase were markedly elevated.;Acute pancreatitis.|Lipase was normal.;No evidence of pancreatitis.|The pancreas
was inflamed.|The pancreas was not inflamed.|The patient drinks heavily.

Small bowel obstruction on plain film.;Dilated loops of bowel with air-fluid levels.|No evidence of obstruction.;Normal bowel
gas pattern.|The bowel was blocked.|The bowel was not blocked.|The patient had abdominal surgery before.

He has not had a bowel movement in six days.;Constipated.|Bowels moving daily.;No constipation.|The patient is
constipated.|The patient moves the bowels regularly.|The patient takes opioids.

She has heartburn after meals.;GERD, on Prilosec.|No reflux symptoms.;Denies heartburn.|The patient has acid reflux.|The
patient has no heartburn.|The patient eats late at night.

Periods are heavy and irregular.;Menorrhagia.|Regular menses.;Periods are normal.|The menstrual bleeding is abnormal.|The
menstrual periods are normal.|The patient has fibroids.

Fetal heart tones were 140.;Ultrasound showed a live intrauterine pregnancy.|No fetal heart beat.;Fetal demise.|The fetus is
alive.|The fetus has died.|The patient has had a miscarriage before.

Twin gestation.;She is carrying triplets.|Singleton pregnancy.;Single fetus.|There is more than one baby.|There is only one
baby.|The patient had fertility treatment.

She had a tubal ligation.;Status post vasectomy.|Trying to conceive.;Wants to have more children.|The patient chose not to
have more children.|The patient wants children.|The patient has two children.

He is a 72-year-old man.;An 85-year-old female.|A 6-year-old boy.;This 4-month-old infant.|The patient is elderly.|The patient
is a child.|The patient has grandchildren.

This is a 45-year-old woman.;Female patient in her thirties.|This is a 45-year-old man.;Male patient in his thirties.|The
patient is a woman.|The patient is a man.|The patient is divorced.

The injury was caused by a motor vehicle accident.;He was hit by a car.|She twisted the ankle at home.;The injury happened
while playing basketball.|The patient was in a traffic accident.|The injury was not from a traffic accident.|The patient was
wearing a seat belt.

The symptoms began this morning.;Onset two hours ago.|Symptoms have been present for years.;Longstanding symptoms since
childhood.|The problem is new.|The problem is old.|The patient has had this treated elsewhere.

Pain is rated 9 out of 10.;Excruciating pain.|Pain is minimal.;Pain is 1 out of 10.|The pain is severe.|The pain is mild.|The
patient wants stronger medicine.

She awoke with the pain at night.;Pain wakes him from sleep.|Pain does not disturb sleep.;Sleeps through the night without
pain.|The pain disturbs sleep.|The pain does not disturb sleep.|The patient works night shifts.

Vancomycin was switched to linezolid because of a rash.;Stopped penicillin due to hives.|He tolerated vancomycin without
problems.;No reaction to the antibiotic.|The antibiotic was changed because of a side effect.;The patient reacted badly to a
medicine.|The medicine caused no problem.|The patient has kidney failure.

She complained of dizziness on standing, orthostatics positive.;Lightheaded with a drop in blood pressure on
standing.|Orthostatics negative.;No dizziness on standing.|The blood pressure drops on standing.|The blood pressure holds on
standing.|The patient was dehydrated.

Mucous membranes are dry and skin turgor is poor.;Clinically dehydrated.|Mucous membranes moist.;Well hydrated.|The patient
lacks fluid.|The patient has enough fluid.|The patient was given IV fluids.

He received two liters of normal saline.;IV fluids were started.|IV fluids were not needed.;Fluids were restricted.|The
patient was given fluid through a vein.|The patient got no IV fluid.|The patient was vomiting.

Urine output was only 100 cc per day.;Oliguric.|Good urine output.;Making plenty of urine.|The patient makes little urine.|The
patient makes enough urine.|The patient has an enlarged prostate.

Peripheral pulses are absent in the left foot.;Foot is cold and pulseless.|Pulses 2+ in both feet.;Feet are warm with good
pulses.|The blood flow to the foot is poor.|The blood flow to the feet is good.|The patient needs an amputation.

Murmur heard at the apex.;Grade 3/6 systolic murmur.|No murmurs.;S1 and S2 normal without murmur.|The heart made an abnormal
sound.|The heart sounds were normal.|The patient had rheumatic fever.

JVD to the jaw.;Neck veins are distended.|No JVD.;Neck veins are flat.|The neck veins were swollen.|The neck veins were not
swollen.|The patient has a weak heart.

EKG showed ST elevation in the anterior leads.;There are ischemic changes on EKG.|EKG without ischemic changes.;EKG was
unremarkable.|The heart tracing suggested poor blood flow.;The EKG was abnormal.|The EKG was normal.|The patient was taken to
the cath lab.

BNP of 2400.;He is in decompensated heart failure.|BNP was 20.;No signs of heart failure.|The test points to heart
failure.|There is no heart failure.|The patient eats too much salt.

Abscess was incised and drained.;I and D of the abscess.|The abscess was treated with antibiotics only.;No abscess was
found.|Pus was let out.|Nothing was cut open.|The culture grew MRSA.

Both parents are alive and well.;Father is 80 and healthy.|Father died of a heart attack at 50.;Mother is deceased.|The parent
is living.|The parent has died.|The patient has brothers.

He is HIV positive.;Hepatitis B surface antigen positive.|HIV negative.;Hepatitis serologies were negative.|The patient has a
viral infection.|The patient does not have the virus.|The patient shares needles.

Vision improved after surgery.;She sees better since the cataract was removed.|Vision worsened after surgery.;No improvement
in vision.|The patient sees better than before.|The patient does not see better.|The other eye will be operated on.

He understands and agrees with the plan.;Patient verbalized understanding.|She did not understand the instructions.;Patient
disagrees with the plan.|The patient understood and agreed.|The patient did not understand or agree.|The patient asked for a
second opinion.

Through an interpreter.;The patient speaks only Spanish.|Speaks fluent English.;No interpreter was required.|The patient needs
a translator.|The patient does not need a translator.|The patient came from Mexico.
"""
"""A row a paragraph; "|" parts its five parts, ";" the ways to say one."""
ROWS = tuple(_row(paragraph) for paragraph in _TABLE.strip().split("\n\n"))
