"""The demonstration: a synthetic hospital, and a discharge summary's way through the appliance."""
