"""pyproject.toml says what is needed, constraints.txt in which version, environment.yml only how conda gets there."""

import re
import tomllib
from importlib.metadata import version

import pytest
import yaml
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from conftest import PROJECT

PROJECT_TABLE = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
REQUIREMENTS = [
    Requirement(line)
    for line in [*PROJECT_TABLE["dependencies"], *sum(PROJECT_TABLE["optional-dependencies"].values(), [])]
]
# Installed by .ci/browser where a browser is to be tested; and by whoever fuzzes the readers.
NOT_SET_UP = {"playwright", "atheris"}
LINES = (PROJECT / "constraints.txt").read_text(encoding="utf-8").splitlines()
PINS = [Requirement(line) for line in LINES if line and not line.startswith("#")]
PLATFORMS = [("linux", "Linux"), ("darwin", "Darwin"), ("win32", "Windows")]


def pins_of(name: str) -> list[Requirement]:
    return [pin for pin in PINS if canonicalize_name(pin.name) == canonicalize_name(name)]


def version_of(pin: Requirement) -> str:
    return str(pin.specifier).removeprefix("==")


def environments() -> list[dict[str, str]]:
    return [
        {**default_environment(), "python_version": python, "python_full_version": f"{python}.9"}
        | {"sys_platform": sys_platform, "platform_system": system}
        for python in ("3.11", "3.12", "3.13")
        for sys_platform, system in PLATFORMS
    ]


def test_the_first_line_of_the_constraints_is_the_command_that_makes_them():
    assert LINES[0].startswith("# uv pip compile --universal --python-version 3.11 --extra test")
    assert "-c" not in LINES[0].split() and "://" not in "".join(LINES)


def test_every_pin_is_one_exact_version():
    for pin in PINS:
        assert re.fullmatch(r"==[0-9][0-9a-z.]*", str(pin.specifier)), pin


@pytest.mark.parametrize("requirement", REQUIREMENTS, ids=lambda requirement: requirement.name)
def test_a_requirement_is_pinned_within_its_range_on_every_platform(requirement):
    for pin in pins_of(requirement.name):
        assert requirement.specifier.contains(version_of(pin)), f"{pin} is outside pyproject's {requirement}"
    for environment in environments():
        chosen = [pin for pin in pins_of(requirement.name) if not pin.marker or pin.marker.evaluate(environment)]
        assert len(chosen) == 1, f"{requirement.name}: {chosen} for {environment['python_version']}"


def test_no_requirement_is_listed_twice():
    names = [canonicalize_name(requirement.name) for requirement in REQUIREMENTS]
    assert sorted(names) == sorted(set(names))


def test_conda_gets_python_and_pip_and_the_rest_from_pyproject():
    listed = yaml.safe_load((PROJECT / "environment.yml").read_text(encoding="utf-8"))["dependencies"]
    packages, [pip_part] = listed[:-1], listed[-1:]
    assert [re.split("[=<> ]", package)[0] for package in packages] == ["python", "pip"]
    assert packages[0].split("=", 1)[1] in SpecifierSet(PROJECT_TABLE["requires-python"])
    assert pip_part == {"pip": ["-c constraints.txt", "-e .[test,sentence,slurm,site]"]}


def test_installed_packages_are_in_range():
    # In range, not pinned: whoever brings an environment of their own may have others, and then a run says so.
    for requirement in REQUIREMENTS:
        if requirement.name in NOT_SET_UP:
            continue
        assert requirement.specifier.contains(version(requirement.name)), requirement
