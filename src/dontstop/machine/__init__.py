"""Files, processes, random numbers, and the machines that jobs run on."""
