"""Encoders, and their masked-LM and classification training."""
