"""The classes of the docstring tasks: the dotted names that a module's name begins with decide its class.

Departure: people labelled the paper's tasks; here the place of a text in its package does, which costs nothing and
depends, as the paper's tasks do, on knowing the domain.
"""

from dontstop.studies import Domain


def class_of(domain: Domain, kind: str, module: str) -> str | None:
    """Return the class of the domain's `topic` or `area` task that a module belongs to, if any."""
    classes = domain.areas if kind == "area" else {topic: [topic] for topic in domain.topics}
    beginnings = {label: tuple(f"{name}." for name in names) for label, names in classes.items()}
    return next((label for label, names in beginnings.items() if f"{module}.".startswith(names)), None)
