"""Tasks, documents and corpora: read, cleaned, split, held free of leaks, and written down."""
