"""What discharge summaries say whatever the patient came in for: tables of templates, labelled where they ask for something.

The labels follow the project's conventions: a sentence has one only when it asks for, arranges or reports as pending something
after discharge. What looks alike and asks for nothing stands here as well: home medication, instructions "given", visits missed,
results that came back, and follow-up that is not needed.
"""

from collections.abc import Mapping

HEADINGS: Mapping[str, tuple[str, ...]] = {
    "diagnoses": ("Discharge Diagnoses", "Diagnoses", "Final Diagnosis", "Principal and Secondary Diagnoses"),
    "complaint": ("Chief Complaint", "Reason for Admission", "Presenting Complaint"),
    "history": ("History of Present Illness", "HPI", "Brief History", "Presentation"),
    "past": ("Past Medical History", "PMH", "Background"),
    "social": ("Social History", "Social and Family History"),
    "allergies": ("Allergies", "Drug Allergies"),
    "home drugs": ("Medications on Admission", "Home Medications", "Medications Prior to Admission"),
    "exam": ("Physical Examination", "Examination on Admission", "Physical Exam"),
    "results": ("Pertinent Results", "Laboratory and Imaging Data", "Results", "Labs and Studies"),
    "course": ("Hospital Course", "Brief Hospital Course", "Course in Hospital", "Summary of Stay"),
    "consults": ("Consultations", "Consults"),
    "condition": ("Condition at Discharge", "Discharge Condition", "Status at Discharge"),
    "disposition": ("Disposition", "Discharge Disposition", "Discharged To"),
    "drugs": ("Discharge Medications", "Medications at Discharge", "Medication List"),
    "instructions": ("Discharge Instructions", "Instructions to Patient", "Patient Instructions", "Activity and Diet"),
    "follow up": ("Follow-up", "Follow-up Plans", "Plan", "Outpatient Plan", "Issues for Follow-up"),
}

PAST = (
    "Hypertension.",
    "Type 2 diabetes, <diet-controlled|on oral agents|on insulin>.",
    "Hyperlipidemia.",
    "Osteoarthritis of <both knees|the {side} hip|the hands>.",
    "Hypothyroidism.",
    "Asthma as a child.",
    "Gastroesophageal reflux.",
    "Chronic kidney disease, stage <2|3a|3b>.",
    "Depression, <stable|in remission|treated {with} sertraline>.",
    "Cholecystectomy in {old year}.",
    "Migraine.",
    "Cataract surgery in {old year}.",
    "Knee replacement, {side}, {old year}.",
    "Lung nodule, stable on CT in {old year}.",
    "Deep vein thrombosis in {old year}, treated {with} warfarin for six months.",
    "Normal colonoscopy in {old year}.",
    "Gout.",
    "Obstructive sleep apnea, does not use a mask.",
)
SOCIAL = (
    "{he} lives <{with} {his} {relative}|alone on the <first|second|third> floor>.",
    "{Who} is a {job}.",
    "<{he} does not smoke|{he} quit smoking in {old year}|Smokes half a pack a day>.",
    "Drinks <a glass of wine {with} dinner|no alcohol|beer on weekends>.",
    "{his} {relative} had <a stroke|diabetes|heart disease> at age {48-79}.",
)
ALLERGIES = (
    "No known drug allergies.",
    "None known.",
    "{allergen} (<{reaction}|{reaction}|unknown>).",
    "Reports {reaction} {with} {allergen}.",
)
HOME_DRUGS = (
    "Amlodipine <5|10> mg {daily}",
    "Metformin 500 mg {bid}",
    "Lisinopril <5|10|20|40> mg {daily}",
    "Omeprazole 20 mg {daily}",
    "Levothyroxine <50|75|88|100|112> mcg {daily}",
    "Simvastatin <20|40> mg {nightly}",
    "Gabapentin 300 mg {tid}",
    "Multivitamin {daily}",
    "Vitamin D 1000 units {daily}",
    "Sertraline 50 mg {daily}",
    "Aspirin 81 mg {daily}",
    "Senna 8.6 mg {nightly} {prn}",
    "Hydrochlorothiazide 25 mg {daily}",
    "Fluticasone nasal spray {daily}",
    "Melatonin 3 mg {nightly} {prn} for sleep",
)
EXAM = (
    "<Vital signs|Vitals>: {vitals}.",
    "<Alert and oriented|Awake, alert, in no distress|Tired but comfortable>.",
    "<Heart sounds were regular|Regular rate and rhythm> without murmur.",
    "Lungs <clear on both sides|{with} scattered wheezes|{with} crackles at the {side} base>.",
    "Abdomen soft, <not tender|mildly tender on the {side}>, bowel sounds present.",
    "<No|Trace|Mild> edema of the legs.",
    "Neurologic examination <without focal deficit|grossly intact>.",
    "Skin <warm and dry|without rash>.",
    "Neck supple, no lymph nodes felt.",
)
RESULTS = (
    "Sodium {132-144}, potassium {3.4-4.9}, creatinine {0.7-1.6}, glucose {88-190}.",
    "Hemoglobin {9.8-14.9}, platelets {142-390}, white cells {4.8-13.9}.",
    "Liver tests were within normal limits.",
    "Electrocardiogram on {stay date}: sinus rhythm, no acute changes.",
    "Urinalysis was bland.",
    "CT of the head on {stay date} showed no bleeding.",
    "An MRI from {old year} was available for comparison.",
    "All cultures were final and negative before {discharge}.",
    "Labs on the morning of {discharge} were stable.",
    "Magnesium was {1.4-2.2} and was <replaced|repleted> on the ward.",
)
COURSE = (
    "{Who} was admitted to the {specialty} service on {admitted}.",
    "{Who} was seen by {specialist} on {stay date}.",
    "Blood pressure was in range on {his} home drugs.",
    "{his} home {home drug} was given throughout the stay.",
    "Lisinopril was held for one night in hospital and given again the next morning.",
    "Sugars were covered {with} a sliding scale while {he} was here.",
    "{he} had one night of confusion that cleared by itself.",
    "Physical therapy walked {him} {50-300} feet and saw no further needs.",
    "Potassium was low once at {2.9-3.4} and was replaced.",
    "{he} received subcutaneous heparin while in bed.",
    "A urinary catheter was removed on {stay date}, and {he} voided.",
    "An abdominal ultrasound done for a mild rise in liver tests was normal.",
    "Nutrition saw {him} on the ward and {he} ate about half of {his} meals.",
    "{his} {relative} was at the bedside and was kept informed.",
    "Code status was discussed, and {he} wishes to be full code.",
    "There were no falls and no pressure injuries.",
    "Kidney function was followed daily and returned to baseline.",
    "{he} declined the influenza vaccine.",
    "Surgery was consulted and felt that no operation was indicated.",
    "A CT of the chest ordered on {stay date} was cancelled because {he} had improved.",
    "{he} had missed {his} last {appointment} {with} {pcp} before this illness.",
    "{he} reported good follow-up {with} {pcp} over the years.",
)
CONSULTS = ("{specialty}, {specialist}.", "Physical therapy.", "Social work.", "Nutrition.", "Case management.")
CONDITION = (
    "<Stable|Good|Fair|Improved>.",
    "<Stable|Improved>, walking <independently|{with} a walker|{with} a cane>.",
    "Afebrile, eating, pain controlled.",
    "At {his} baseline; {vitals}.",
)
# Where the patient goes is no label by itself; services that come along are.
DISPOSITION: Mapping[str, tuple[str, ...]] = {
    "": (
        "Home.",
        "Home {with} family.",
        "{facility}.",
        "Home, accompanied by {his} {relative}.",
        "Discharged home on {discharged}.",
    ),
    "Other": (
        "Home {with} <visiting nurse|home health> services.",
        "Home {with} visiting nurse {2-3} times a week and home physical therapy.",
        "Home {with} hospice services.",
    ),
}
DRUGS: Mapping[str, tuple[str, ...]] = {
    "Medication": (
        "STOP taking {home drug}.",
        "HOLD {home drug} until seen by {pcp}.",
        "{antibiotic} {po} {bid} for {3-10} days",
        "{antibiotic} {po} {bid}, last day {end date}",
        "Prednisone <20|30|40> mg {daily} for {3-6} days and then off",
        "{home drug}: dose <lowered|raised|changed>, now <5|10|20|25|40> mg {daily}",
        "Oxycodone 5 mg every 6 hours {prn}, {3-5} days only",
        "Omeprazole {bid} for {2-8} weeks, then {daily}",
    ),
}
FOLLOW_UP: Mapping[str, tuple[str, ...]] = {
    "Appointment": (
        "{Please follow up} {with} {pcp} {in weeks}.",
        "{Please follow up} {with} {specialist} ({specialty}) {in weeks}.",
        "{he} has {an appointment} {with} {pcp} on {visit date} at {clock}.",
        "{specialty} clinic on {visit date}, {clock}.",
        "See {his} primary care doctor {in weeks}.",
        "{an appointment} {with} {specialist} has been requested; the office will call {him}.",
        "Please call {clinic phone} to make {an appointment} {with} {specialty}.",
        "{he} should be seen in the {specialty} clinic {in weeks}.",
        "Return to clinic {in weeks}.",
        "The office of {pcp} was called and will see {him} {weekday}.",
        "Referral to {specialty} was placed.",
    ),
    "Lab": (
        "{bmp} {in days}, results to {pcp}.",
        "Please recheck a {cbc} {in weeks}.",
        "Vitamin B12 level is pending at {discharge}.",
        "The <hepatitis serologies|autoimmune panel|serum protein electrophoresis> had not come back when {he} left.",
        "{pcp} to check liver tests {in weeks}.",
        "Fasting lipids {in months}.",
    ),
    "Imaging": (
        "An incidental {4-12} mm <thyroid|lung|adrenal|liver> nodule needs a repeat <CT|ultrasound|MRI> {in months}.",
        "Outpatient MRI has been ordered for {visit date}.",
        "Final read of the {cxr} from {discharged} is pending.",
        "Please obtain a <renal ultrasound|carotid ultrasound|bone density scan> {in months}.",
    ),
    "Procedure": (
        "Outpatient <colonoscopy|endoscopy|stress test|sleep study> {in weeks}.",
        "{he} is scheduled for <cataract surgery|a skin biopsy|a nerve conduction study> on {visit date}.",
        "The PICC line is to be removed by the infusion service on {visit date}.",
    ),
    "Appointment+Lab": (
        "See {pcp} {in weeks} {with} a {cbc} the day before.",
        "{Please follow up} {with} {pcp} on {visit date} for a blood pressure check and {bmp}.",
    ),
    "Appointment+Procedure": (
        "Return {in days} for suture removal.",
        "Come back to the clinic on {visit date} to have the sutures out.",
    ),
    "Appointment+Imaging": ("{Please follow up} {with} {specialist} {in weeks} after a repeat CT.",),
    "Appointment+Medication": ("{pcp} will see {him} {in weeks} and decide whether {home drug} can be restarted.",),
    "Other": (
        "A visiting nurse will come {2-3} times a week to check vital signs.",
        "Social work will call {him} about help at home.",
        "Home physical therapy has been arranged.",
        "A walker and a shower chair will be delivered to {address}.",
        "Outpatient nutrition consult was requested.",
        "The home care agency was given a full hand-over, {clinic phone}.",
    ),
    "Medication": (
        "Blood pressure was low, so <halve|cut down> the {home drug} until the next visit.",
        "{pcp} may restart {home drug} once the potassium is normal.",
        "{home drug} has been stopped for good.",
    ),
}
# Reads like follow-up and asks for nothing.
NO_FOLLOW_UP = (
    "No results were pending at {discharge}.",
    "No further imaging is needed.",
    "No {appointment} {with} surgery is required.",
    "The plan was discussed {with} {him} and {his} {relative}.",
    "A copy of this summary was sent to {pcp}.",
    "Outside records have been received and scanned.",
    "{he} has no outstanding laboratory tests.",
    "All studies ordered during the stay have been read.",
)
INSTRUCTIONS = (
    "Call {clinic phone} or return to the emergency department for fever, chest pain or trouble breathing.",
    "Return to the emergency room if the pain gets worse or you cannot keep food down.",
    "Call your doctor for a temperature above {100.4-101.5}, chills or new swelling.",
    "Regular diet.",
    "<Low-salt|Low-fat|Diabetic|Heart-healthy|Soft> diet.",
    "Activity as tolerated.",
    "Walk every day and rest when you are tired.",
    "Do not drive while you take pain medicine.",
    "Keep taking all your other medicines as before.",
    "<Continue|Resume> your home medicines as listed.",
    "Keep the wound clean and dry.",
    "No strenuous exercise for {2-6} weeks.",
    "Do not drink alcohol {with} your new medicines.",
    "Please bring this letter and all your pill bottles to every visit.",
    "Take your blood pressure at home and write it down.",
    "Drink plenty of fluids.",
)
NO_INSTRUCTIONS = (
    "Discharge instructions were given and understood.",
    "{he} was told about the warning signs before leaving.",
    "Written instructions were handed to {his} {relative}.",
    "{he} had no questions.",
)
