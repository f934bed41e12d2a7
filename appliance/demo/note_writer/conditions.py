"""Why the invented patients are in hospital: a table of stories, each with the follow-up that belongs to it.

Long because it is a table. Templates are in the language of `grammar`; `history`, `results` and `course` ask for nothing after
discharge, however much they speak of laboratories, imaging, drugs and visits.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Condition:
    """One reason to be in hospital."""

    diagnosis: str
    complaint: str
    specialty: str
    studies: tuple[str, ...]
    """Names of the radiology studies that go with it."""
    history: tuple[str, ...]
    results: tuple[str, ...]
    course: tuple[str, ...]
    drugs: tuple[str, ...]
    """Lines of a plain list of discharge medication."""
    follow_up: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Per label, or labels joined by `+`: what is left to do."""


CONDITIONS: tuple[Condition, ...] = (
    Condition(
        diagnosis="<Community-acquired pneumonia|{side} lower lobe pneumonia|Pneumonia, {side} lung>",
        complaint="<cough and fever|productive cough|fever, chills and shortness of breath>",
        specialty="pulmonology",
        studies=("chest x-ray", "chest ct"),
        history=(
            "{Who} had been coughing up <yellow|green|rust-colored> sputum for {2-9} days before coming in.",
            "There was no recent travel and nobody at home was ill.",
            "An urgent care clinic had given {him} azithromycin <without benefit|two days earlier>.",
        ),
        results=(
            "White blood cell count was {11.2-19.8} on arrival and {6.1-9.8} on the day of {discharge}.",
            "{cxr} on {stay date} showed <a consolidation|patchy opacity> at the {side} base.",
            "Blood cultures from admission <had no growth at five days|remained negative>.",
            "Legionella and pneumococcal urine antigens were negative.",
        ),
        course=(
            "{Who} was treated {with} ceftriaxone and azithromycin and was afebrile by hospital day {2-4}.",
            "Oxygen was weaned from {2-5} liters to room air over {2-4} days.",
            "A repeat {cxr} on hospital day {3-5} was <improved|unchanged>.",
            "Pulmonology was consulted and saw no need for bronchoscopy.",
        ),
        drugs=("Albuterol inhaler 2 puffs every six hours {prn}", "Guaifenesin 600 mg {po} {bid}"),
        follow_up={
            "Imaging": (
                "A repeat {cxr} {in weeks} is recommended to document clearing.",
                "{he} needs a chest film {in weeks} to make sure that the infiltrate has gone.",
            ),
            "Medication": (
                "{antibiotic} {po} {bid} for {3-7} more days.",
                "Complete a {5-10}-day course of {antibiotic}, last dose {end date}.",
            ),
            "Lab": ("Sputum culture is still <growing|pending> at the time of {discharge}.",),
        },
    ),
    Condition(
        diagnosis="<Acute on chronic systolic heart failure|Decompensated heart failure|Heart failure exacerbation>",
        complaint="<shortness of breath|leg swelling and weight gain|breathlessness on lying flat>",
        specialty="cardiology",
        studies=("chest x-ray", "chest ct"),
        history=(
            "{Who} had gained {6-25} pounds over {2-5} weeks and slept in a recliner.",
            "{he} had run out of furosemide and had missed two appointments at the heart failure clinic.",
            "An echocardiogram in {old year} had shown an ejection fraction of {25-40}%.",
        ),
        results=(
            "BNP was {680-3200} on admission.",
            "Echocardiogram on {stay date} showed an ejection fraction of {20-45}%.",
            "Creatinine peaked at {1.4-2.3} and was {1.0-1.4} at {discharge}.",
            "Troponin was negative three times.",
        ),
        course=(
            "{Who} was diuresed {with} intravenous furosemide, {3-11} liters net negative.",
            "Potassium was checked {bid} and replaced while {he} was on the drip.",
            "Cardiology followed {him} throughout the stay.",
            "There was no arrhythmia on telemetry.",
        ),
        drugs=("Furosemide 40 mg {po} {daily}", "Carvedilol 6.25 mg {po} {bid}", "Sacubitril-valsartan 24-26 mg {po} {bid}"),
        follow_up={
            "Lab": (
                "Check {bmp} {in days}.",
                "Please repeat {bmp} at the first visit, as the diuretic dose was changed.",
            ),
            "Medication": (
                "Furosemide was increased to <60|80> mg {daily}.",
                "Hold spironolactone until potassium has been rechecked.",
            ),
            "Patient instructions": (
                "Weigh yourself every morning and call if you gain more than {2-3} pounds in a day.",
                "Keep to <1500|2000> mg of sodium and {1.5-2.0} liters of fluid a day.",
            ),
            "Procedure": ("{he} will be scheduled for a defibrillator implantation {in months}.",),
            "Imaging": ("Repeat echocardiogram {in months} on full medical therapy.",),
        },
    ),
    Condition(
        diagnosis="<Upper gastrointestinal bleeding from a gastric ulcer|Bleeding duodenal ulcer|"
        "Acute blood loss anemia, gastric ulcer>",
        complaint="<black stools|vomiting of blood|lightheadedness and black stools>",
        specialty="gastroenterology",
        studies=("abdominal ct",),
        history=(
            "{he} had been taking naproxen {bid} for knee pain.",
            "{Who} had never had a colonoscopy.",
            "There was no {history} of liver disease.",
        ),
        results=(
            "Hemoglobin was {6.4-8.2} on arrival, {7.9-9.0} after transfusion and {8.6-10.4} at {discharge}.",
            "Upper endoscopy on {stay date} showed a {5-20} mm ulcer {with} a clean base.",
            "INR was {1.0-1.3}.",
        ),
        course=(
            "{Who} received {2-4} units of packed red cells.",
            "A pantoprazole infusion was given for 72 hours.",
            "Hemoglobin was followed every eight hours and stayed stable after the endoscopy.",
            "{he} tolerated a soft diet from the following day.",
        ),
        drugs=("Pantoprazole 40 mg {po} {bid}", "Ferrous sulfate 325 mg {po} every other day"),
        follow_up={
            "Lab": (
                "Biopsies for Helicobacter pylori are pending.",
                "{cbc} should be rechecked {in days}.",
                "Gastric biopsy pathology had not returned when {he} left.",
            ),
            "Procedure": (
                "Repeat endoscopy {in weeks} to confirm healing of the ulcer.",
                "A screening colonoscopy should be arranged {in months}.",
            ),
            "Medication": (
                "Stop naproxen and all other anti-inflammatory drugs.",
                "Pantoprazole {bid} for {6-8} weeks, then {daily}.",
                "Do not restart aspirin before {visit date}.",
            ),
        },
    ),
    Condition(
        diagnosis="<Intertrochanteric fracture of the {side} hip|{side} femoral neck fracture|"
        "Fracture of the {side} hip after a fall>",
        complaint="<a fall {with} hip pain|{side} hip pain and inability to bear weight>",
        specialty="orthopedic surgery",
        studies=("hip x-ray", "leg ultrasound"),
        history=(
            "{Who} tripped over a <rug|curb|dog> and could not get up.",
            "There was no loss of consciousness and no head strike.",
            "Before the fall {he} walked {with} a cane.",
        ),
        results=(
            "Films of the hip on {admitted} showed <a displaced|an impacted> fracture.",
            "Vitamin D was {11-24}.",
            "Hemoglobin was {8.3-10.1} after the operation and needed no transfusion.",
        ),
        course=(
            "{he} went to the operating room on {stay date} for <a short nail|a hemiarthroplasty|fixation {with} screws>.",
            "Physical therapy saw {him} from the first postoperative day.",
            "Postoperative films showed good alignment.",
            "Pain was controlled {with} acetaminophen and low doses of oxycodone.",
        ),
        drugs=(
            "Acetaminophen 1000 mg {po} {tid}",
            "Calcium carbonate 500 mg {po} {bid}",
            "Oxycodone 5 mg {po} every 6 hours {prn}",
        ),
        follow_up={
            "Medication": (
                "Enoxaparin 40 mg under the skin {daily} for {21-35} days in total.",
                "Oxycodone to be tapered over the next {5-10} days.",
            ),
            "Appointment+Procedure": (
                "See {specialist} on {visit date} to have the staples taken out.",
                "Staples come out at the orthopedic {appointment} {in days}.",
            ),
            "Appointment+Imaging": ("Orthopedic clinic {in weeks} {with} films of the hip on arrival.",),
            "Imaging": ("Bone density scan {in months}.",),
            "Patient instructions": (
                "Weight bearing as tolerated {with} a walker.",
                "Keep the dressing dry for {3-10} days.",
                "Do not cross your legs or bend the hip past ninety degrees.",
            ),
            "Other": ("Physical therapy at home {2-4} times a week for gait training.",),
        },
    ),
    Condition(
        diagnosis="<Acute appendicitis|Perforated appendicitis|Appendicitis, uncomplicated>",
        complaint="<pain in the right lower abdomen|belly pain and vomiting>",
        specialty="general surgery",
        studies=("abdominal ct",),
        history=(
            "The pain began around the navel {1-3} days earlier and moved to the right.",
            "{he} had been vomiting and had not eaten since the day before.",
            "{Who} had no earlier abdominal operations.",
        ),
        results=(
            "White count was {12.4-18.9} {with} a left shift.",
            "CT of the abdomen on arrival showed a thickened appendix of {9-15} mm.",
            "Urinalysis was unremarkable.",
        ),
        course=(
            "A laparoscopic appendectomy was done on {stay date} without complications.",
            "{he} was eating and passing gas by the next day.",
            "Cefazolin and metronidazole were given around the operation.",
            "The drain was removed before {discharge}.",
        ),
        drugs=("Acetaminophen 650 mg {po} every 6 hours {prn}", "Docusate 100 mg {po} {bid}"),
        follow_up={
            "Lab": (
                "Surgical pathology of the appendix is pending.",
                "Final pathology is outstanding and {specialist} will call {with} it.",
            ),
            "Medication": ("Amoxicillin-clavulanate {po} {bid} through {end date}, then stop.",),
            "Patient instructions": (
                "No lifting above {10-20} pounds for {3-6} weeks.",
                "You may shower, but do not soak the incisions in a bath or a pool.",
                "Leave the strips on the skin until they fall off by themselves.",
            ),
            "Procedure": ("Interval colonoscopy {in weeks} is advised at {his} age.",),
        },
    ),
    Condition(
        diagnosis="<Acute ischemic stroke|Stroke in the {side} middle cerebral artery territory|Small {side} thalamic infarct>",
        complaint="<slurred speech|weakness of the {side} arm|a drooping face and slurred speech>",
        specialty="neurology",
        studies=("head ct", "brain mri"),
        history=(
            "{his} {relative} noticed the change at breakfast and called an ambulance.",
            "{he} was outside the window for thrombolysis.",
            "There was a {history} of poorly controlled blood pressure.",
        ),
        results=(
            "MRI on {stay date} showed a small acute infarct.",
            "LDL was {104-188} and hemoglobin A1c {5.4-8.9}%.",
            "Ultrasound of the neck vessels showed less than 50% narrowing on both sides.",
            "Transthoracic echocardiogram showed no thrombus.",
        ),
        course=(
            "{Who} was kept on telemetry, which showed sinus rhythm throughout.",
            "Speech therapy cleared {him} for a regular diet.",
            "Blood pressure was allowed to run high for the first day.",
            "A head CT repeated after 24 hours did not show any bleeding.",
        ),
        drugs=("Atorvastatin 80 mg {po} {nightly}", "Aspirin 81 mg {po} {daily}"),
        follow_up={
            "Medication": ("Clopidogrel 75 mg {daily} for {21-90} days, then aspirin alone.",),
            "Procedure": ("An event monitor will be placed for {14-30} days to look for atrial fibrillation.",),
            "Imaging": ("CT angiogram of the neck {in months} is suggested.",),
            "Patient instructions": (
                "No driving until neurology has seen you.",
                "Call 911 at once for new weakness or trouble speaking.",
            ),
            "Other": ("Outpatient speech and occupational therapy have been set up.",),
            "Lab": ("Hypercoagulability panel was sent and has not come back.",),
        },
    ),
    Condition(
        diagnosis="<Atrial fibrillation with rapid ventricular response|New-onset atrial fibrillation|"
        "Paroxysmal atrial fibrillation>",
        complaint="<palpitations|a racing heart|palpitations and fatigue>",
        specialty="cardiology",
        studies=("chest x-ray",),
        history=(
            "The palpitations came on at rest {3-30} hours before arrival.",
            "{he} drinks {2-5} glasses of wine on most evenings.",
            "A stress test in {old year} had been normal.",
        ),
        results=(
            "Heart rate was {124-168} and irregular in the emergency department.",
            "TSH was {0.6-4.1}.",
            "Echocardiogram showed a mildly enlarged left atrium.",
        ),
        course=(
            "Rate control was reached {with} intravenous diltiazem.",
            "{he} converted to sinus rhythm on {stay date} and stayed in it.",
            "Risks and benefits of anticoagulation were discussed {with} {him} and {his} {relative}.",
            "No cardioversion was needed during this admission.",
        ),
        drugs=("Metoprolol succinate 50 mg {po} {daily}", "Apixaban 5 mg {po} {bid}"),
        follow_up={
            "Lab": ("INR {weekday} at the anticoagulation clinic.", "Thyroid function should be repeated {in weeks}."),
            "Lab+Medication": ("Have the INR drawn on {visit date}; the clinic will adjust the warfarin dose.",),
            "Procedure": (
                "Elective cardioversion is planned after {3-4} weeks of anticoagulation.",
                "{he} is booked for an outpatient sleep study.",
            ),
            "Medication": ("Metoprolol dose was doubled to 100 mg {daily}.", "Discontinue atenolol."),
            "Patient instructions": ("Cut down on alcohol and coffee.",),
        },
    ),
    Condition(
        diagnosis="<Diabetic ketoacidosis|Type 1 diabetes with ketoacidosis|Hyperglycemia with ketosis>",
        complaint="<nausea and high sugars|vomiting and thirst>",
        specialty="endocrinology",
        studies=("chest x-ray",),
        history=(
            "{Who} had stopped {his} insulin during a stomach illness.",
            "Sugars at home had read {380-540} for two days.",
            "{his} last hemoglobin A1c, in {old year}, was {7.4-10.8}%.",
        ),
        results=(
            "Glucose was {420-690} and the anion gap {19-31} on arrival.",
            "Bicarbonate rose from {7-13} to {21-25}.",
            "Urine culture grew mixed flora only.",
        ),
        course=(
            "{Who} was on an insulin drip for {12-30} hours in the step-down unit.",
            "Electrolytes were checked every four hours until the gap had closed.",
            "The diabetes educator went over sick-day rules.",
            "{he} was changed to long-acting insulin on hospital day 2.",
        ),
        drugs=("Insulin glargine {14-32} units {nightly}", "Insulin lispro {3-9} units before meals"),
        follow_up={
            "Medication": (
                "Glargine was raised from {10-18} to {20-34} units.",
                "Do not take metformin until the kidney function is back to normal.",
            ),
            "Patient instructions": (
                "Check your blood sugar four times a day and write it down.",
                "Never skip the long-acting insulin, even when you are not eating.",
            ),
            "Lab": ("Repeat {bmp} {in days}.", "Islet cell antibodies are pending."),
            "Other": ("Referral to a dietitian has been made.",),
            "Appointment": ("Eye examination is due and should be booked.",),
        },
    ),
    Condition(
        diagnosis="<COPD exacerbation|Acute exacerbation of chronic obstructive pulmonary disease|COPD with acute bronchitis>",
        complaint="<wheezing|worsening shortness of breath|cough and wheezing>",
        specialty="pulmonology",
        studies=("chest x-ray", "chest ct"),
        history=(
            "{he} smokes {1-2} packs a day and has done so since {his} twenties.",
            "{Who} used the rescue inhaler every hour on the day of admission.",
            "Two courses of prednisone had been given in {old year}.",
        ),
        results=(
            "Venous blood gas showed a pH of 7.3{1-8} and a carbon dioxide of {46-62}.",
            "{cxr} showed hyperinflation without infiltrate.",
            "Influenza and other respiratory viruses were not detected.",
        ),
        course=(
            "{Who} received nebulizers around the clock and intravenous methylprednisolone.",
            "BiPAP was used overnight on the first night only.",
            "{he} walked the hallway on <room air|2 liters> {with} saturations above {88-92}%.",
            "{he} was offered nicotine patches and accepted.",
        ),
        drugs=(
            "Tiotropium 18 mcg inhaled {daily}",
            "Budesonide-formoterol 2 puffs {bid}",
            "Albuterol nebulizer every 4 hours {prn}",
        ),
        follow_up={
            "Medication": (
                "Prednisone 40 mg {daily} for {2-3} days, then 20 mg for {2-4} days, then stop.",
                "Prednisone taper as written on the prescription.",
                "Doxycycline 100 mg {bid} for {3-5} more days.",
            ),
            "Other": ("Home oxygen at {1-3} liters has been arranged.", "Pulmonary rehabilitation referral was sent."),
            "Patient instructions": ("You must not smoke while oxygen is in the house.",),
            "Procedure": ("Pulmonary function tests {in weeks}.",),
            "Imaging": ("Low-dose CT of the chest {in months} for lung cancer screening.",),
        },
    ),
    Condition(
        diagnosis="<Cellulitis of the {side} leg|{side} lower leg cellulitis|Cellulitis and abscess of the {side} calf>",
        complaint="<a red, swollen leg|leg redness and pain>",
        specialty="infectious diseases",
        studies=("leg ultrasound",),
        history=(
            "The redness had spread from a scratch over {2-5} days.",
            "{he} had not improved {with} cephalexin from {his} family doctor.",
            "{Who} denied animal bites and water exposure.",
        ),
        results=(
            "White count fell from {12.9-17.4} to {6.8-9.7}.",
            "Ultrasound of the leg showed no clot.",
            "Wound swab grew Staphylococcus aureus, sensitive to oxacillin.",
        ),
        course=(
            "{Who} was started on vancomycin and narrowed to cefazolin on {stay date}.",
            "A small collection was drained at the bedside.",
            "The border of the redness was marked and receded.",
            "Vancomycin levels were in range.",
        ),
        drugs=("Acetaminophen 650 mg {po} every 6 hours {prn}", "Ammonium lactate lotion to both legs {daily}"),
        follow_up={
            "Medication": ("Cephalexin 500 mg {po} four times a day for {5-9} days.", "Finish the antibiotic on {end date}."),
            "Patient instructions": (
                "Keep the leg raised whenever you sit.",
                "Change the dressing {daily} with clean hands.",
                "Call if the redness grows past the line.",
            ),
            "Other": ("Visiting nurse will do wound care {2-3} times weekly.",),
            "Appointment+Procedure": ("Wound clinic on {visit date} to have the packing removed.",),
            "Lab": ("Second set of blood cultures is not final yet.",),
        },
    ),
    Condition(
        diagnosis="<Acute pulmonary embolism|Pulmonary emboli, provoked|{side} lower lobe pulmonary embolism>",
        complaint="<chest pain on breathing in|sudden shortness of breath>",
        specialty="hematology",
        studies=("chest ct", "leg ultrasound"),
        history=(
            "{he} had been on a {9-16}-hour flight the week before.",
            "There is no family {history} of clots.",
            "{Who} had a knee arthroscopy {3-6} weeks earlier.",
        ),
        results=(
            "D-dimer was {1800-9400}.",
            "CT angiogram on {admitted} showed filling defects in the {side} lower lobe.",
            "Troponin was {0.1-0.4} and BNP normal.",
        ),
        course=(
            "Heparin was started in the emergency department and changed to {anticoagulant} on {stay date}.",
            "There was no right heart strain on echocardiogram.",
            "{he} never needed oxygen.",
            "No inferior vena cava filter was required.",
        ),
        drugs=("Apixaban 5 mg {po} {bid}", "Acetaminophen 650 mg {po} {prn}"),
        follow_up={
            "Medication": (
                "Apixaban 10 mg {bid} until {end date}, then 5 mg {bid}.",
                "Anticoagulation is to go on for {3-6} months and then be reviewed.",
            ),
            "Lab": ("Factor V Leiden and lupus anticoagulant results are awaited.",),
            "Imaging": ("CT of the chest {in months} for the {4-9} mm nodule seen by chance.",),
            "Appointment": ("Hematology <will see|to see> {him} {in weeks} about the length of treatment.",),
            "Patient instructions": ("Report any bleeding, black stools or a fall on the head at once.",),
        },
    ),
    Condition(
        diagnosis="<Coronary artery disease, status post bypass grafting|Three-vessel coronary disease|"
        "Non-ST elevation myocardial infarction>",
        complaint="<chest pressure|chest pain on exertion>",
        specialty="cardiac surgery",
        studies=("chest x-ray", "chest ct"),
        history=(
            "{he} had chest pressure on climbing one flight of stairs.",
            "Catheterization at another hospital showed three-vessel disease.",
            "{Who} takes aspirin and a statin at home.",
        ),
        results=(
            "Troponin peaked at {1.2-9.8}.",
            "Ejection fraction was {45-60}% before the operation.",
            "Hematocrit was {26-31} on the day {he} left.",
        ),
        course=(
            "Bypass grafting was done on {stay date} {with} {2-4} grafts.",
            "Chest tubes were removed on the second postoperative day.",
            "{he} had a short run of atrial fibrillation, which ended {with} amiodarone.",
            "Pacing wires were taken out without incident.",
        ),
        drugs=("Aspirin 81 mg {po} {daily}", "Rosuvastatin 40 mg {po} {nightly}", "Metoprolol tartrate 25 mg {po} {bid}"),
        follow_up={
            "Medication": (
                "Amiodarone 400 mg {daily} for {7-14} days, then 200 mg {daily}, stop after {4-8} weeks.",
                "Furosemide 20 mg {daily} for {5-10} days.",
            ),
            "Patient instructions": (
                "No lifting over {5-10} pounds for {8-12} weeks.",
                "Wash the chest incision {daily} with mild soap; no creams or powders.",
                "Hold a pillow against your chest when you cough.",
            ),
            "Other": ("Cardiac rehabilitation has been ordered.",),
            "Appointment": ("Wound check {with} the surgical nurse {in days}.",),
            "Lab": ("Liver and thyroid tests {in months} while on amiodarone.",),
            "Imaging": ("{cxr} before the surgical {appointment}.",),
        },
    ),
    Condition(
        diagnosis="<Acute pyelonephritis|Urosepsis|{side} pyelonephritis with bacteremia>",
        complaint="<flank pain and fever|burning urination, fever and rigors>",
        specialty="urology",
        studies=("renal ultrasound", "abdominal ct"),
        history=(
            "{Who} had passed a kidney stone in {old year}.",
            "{he} felt burning for {2-6} days and then began to shake.",
            "There was no discharge and no new partner.",
        ),
        results=(
            "Urine culture grew Escherichia coli, over 100,000 colonies.",
            "Lactate was {1.9-3.6} and normal after fluids.",
            "Creatinine was {0.8-1.6}.",
        ),
        course=(
            "{he} was given {2-4} liters of fluid and ceftriaxone.",
            "Follow-up blood cultures taken on {stay date} stayed negative.",
            "Ultrasound of the kidneys showed no obstruction.",
            "Fever settled after {24-60} hours.",
        ),
        drugs=("Phenazopyridine 100 mg {po} {tid} {prn}", "Tamsulosin 0.4 mg {po} {nightly}"),
        follow_up={
            "Medication": ("Ciprofloxacin 500 mg {bid} to complete {10-14} days.", "Antibiotics end on {end date}."),
            "Lab": ("Repeat urine culture {in days} after the last antibiotic dose.",),
            "Imaging": ("Renal ultrasound {in months} to look for stones.",),
            "Procedure": ("Urology will do a cystoscopy {in weeks}.", "The ureteral stent must come out {in weeks}."),
            "Patient instructions": ("Drink at least {2-3} liters of water a day.",),
        },
    ),
    Condition(
        diagnosis="<Adenocarcinoma of the sigmoid colon|Colon mass, status post resection|Sigmoid colon cancer>",
        complaint="<rectal bleeding|change in bowel habits and weight loss>",
        specialty="oncology",
        studies=("abdominal ct", "chest ct"),
        history=(
            "A colonoscopy in {old year} had found a near-obstructing mass.",
            "{he} had lost {8-30} pounds in {3-6} months.",
            "{his} {relative} had bowel cancer at age {48-70}.",
        ),
        results=(
            "CEA was {3.1-24.9} before surgery.",
            "CT of the chest showed no metastases.",
            "Albumin was {2.6-3.8}.",
        ),
        course=(
            "A sigmoid resection {with} primary anastomosis was done on {stay date}.",
            "The nasogastric tube came out on postoperative day {1-4}.",
            "Oncology met {him} on the ward.",
            "Bowel function returned on postoperative day {2-5}.",
        ),
        drugs=("Tramadol 50 mg {po} every 6 hours {prn}", "Polyethylene glycol 17 g {po} {daily}"),
        follow_up={
            "Lab": ("Lymph node pathology is still out.", "CEA {in months}."),
            "Procedure": ("Port placement is to be scheduled before chemotherapy.", "Surveillance colonoscopy in one year."),
            "Imaging": ("PET scan {in weeks} as an outpatient.", "CT of the abdomen and pelvis {in months}."),
            "Appointment": ("The tumor board will discuss the case and oncology will call {him} {with} a date.",),
            "Appointment+Procedure": ("Surgical clinic {in days} for removal of staples.",),
            "Medication": ("Enoxaparin 40 mg {daily} for {21-28} days after the operation.",),
        },
    ),
)
