"""The paper's tasks, substitutes for its corpora, and others' encoders: fetched and converted."""
