"""Tables, figures and sentences: what a notebook shows."""
