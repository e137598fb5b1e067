"""Jobs and what they are identified by: doing what is missing, keeping records, reading them."""
