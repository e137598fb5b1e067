"""Arms and their phases, the experiments that they belong to, and what each notebook needs."""
