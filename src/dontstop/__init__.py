"""Don't Stop Pretraining, as a study that anyone can run, trust and extend."""

__version__ = "0.1.0"
