"""The night's story: an EHR export becomes a pretrained base and a finetuned tagger, registered with its card.

export -> de-identified parts -> each note once, split by patient -> tokenizer -> pretraining -> leak gate -> base -> finetuning
-> evaluation on patients it has not seen -> bundle. `story.train` tells it, `planning.plan` says beforehand what it would take.
Everything a run needs to go on after an interruption lies in `corpora/NAME`.
"""
