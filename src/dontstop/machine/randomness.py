"""Counter-based random numbers: a draw depends on its name and its step, never on what was drawn before.

So a batch is the same whichever process makes it, and after whichever interruption.
"""

import hashlib

import numpy as np


def generator(*name: str | int, step: int = 0) -> np.random.Generator:
    """Return the generator of a named stream at a step.

    Args:
        name: What the numbers are for, such as ("masks", seed, "dapt_symbolic_math").
        step: Which block of the stream; blocks never overlap.
    """
    key = np.frombuffer(hashlib.sha256("|".join(map(str, name)).encode()).digest()[:16], dtype=np.uint64)
    # The generator counts up in the lowest word; the step stands in the highest, so no two steps ever meet.
    return np.random.Generator(np.random.Philox(key=key, counter=np.array([0, 0, 0, step], dtype=np.uint64)))


def seed_of(*name: str | int) -> int:
    """Return a 63-bit seed for libraries that take one number."""
    return int(generator(*name).integers(2**63 - 1))
