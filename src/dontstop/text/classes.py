"""The classes of the docstring tasks: the dotted names that a module's name begins with decide its class.

Departure: people labelled the paper's tasks; here the place of a text in its package does, which costs nothing and
depends, as the paper's tasks do, on knowing the domain.
"""

from dontstop.studies import Domain


def topic_of(domain: Domain, module: str) -> str | None:
    """Return the class of the domain's topic task that a module belongs to, if any."""
    return next((topic for topic in domain.topics if _is_within(module, topic)), None)


def area_of(domain: Domain, module: str) -> str | None:
    """Return the class of the domain's area task that a module belongs to, if any."""
    found = (area for area, names in domain.areas.items() if any(_is_within(module, name) for name in names))
    return next(found, None)


def _is_within(module: str, name: str) -> bool:
    return f"{module}.".startswith(f"{name}.")
