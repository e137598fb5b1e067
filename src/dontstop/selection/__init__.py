"""Which text of a domain a task is augmented by."""
