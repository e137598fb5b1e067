"""Arms, what they are identified by, and the runs that they are made of."""
