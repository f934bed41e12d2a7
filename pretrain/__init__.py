"""Texts and models: from documents without patients to a finetuned bundle."""

import os

# Before anything loads torch, whose OpenMP reads this once. By default its threads spin while they wait for each other; on a
# host that does other work too, the spinning takes the very core that is waited for: measured 40 times slower with one busy
# neighbour on two cores, and no faster without one.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# transformers must never look for anything beyond the folders it is given: nothing leaves the box.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
