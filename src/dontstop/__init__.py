"""Don't Stop Pretraining, as a study that anyone can run, trust and extend."""

__version__ = "0.1.0"

# Raised whenever a change to the code changes what training produces; part of every fingerprint.
TRAINING_VERSION = 3
