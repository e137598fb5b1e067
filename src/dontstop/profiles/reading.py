"""Reading a profile: a YAML file's overrides, its mirror and paths resolved, its mistakes explained."""

import difflib
import os
from pathlib import Path
from typing import Any, get_args

from pydantic import ValidationError

from dontstop.errors import StudyError
from dontstop.inputs import at_home, checked_name, read_settings
from dontstop.profiles.groups import Settings
from dontstop.profiles.paths import find_root
from dontstop.profiles.profile import MOST_REPLICATES, Profile
from dontstop.studies import with_whole_paths as with_whole_study


def profile_names(root: Path | None = None) -> list[str]:
    """List the profiles in configs/, sorted; what has a dot in its name is an example to begin with."""
    found = sorted(path.stem for path in ((root or find_root()) / "configs").glob("*.yaml"))
    return [name for name in found if "." not in name]


def load_profile(name: str, root: Path | None = None) -> Profile:
    """Read a profile and check every key, type and bound.

    Args:
        name: Of configs/<name>.yaml, or the path of another YAML file.

    Raises:
        StudyError: With the path of the setting, what stands there and what is expected.
    """
    root = root or find_root()
    path = _profile_path(name, root)
    content = _read_with_like(path, root)
    profile = parse_profile({**content, "name": path.stem}, str(path))
    if profile.text.source == "files" and (mirror := os.environ.get("DONTSTOP_MIRROR")):
        profile = _in_folder(profile, mirror)
    # Paths in a file elsewhere begin at its own folder.
    profile = with_whole_paths(profile, root if path.parent == root / "configs" else path.parent)
    is_own = profile.text.study.is_own  # whose files are gathered in scratch
    return _in_folder(profile, root / "work" / "own" / profile.name) if is_own else profile


def _profile_path(name: str, root: Path) -> Path:
    if str(name).endswith((".yaml", ".yml")):
        path = at_home(name).absolute()
        checked_name("profile", path.stem)
        if not path.is_file():
            raise StudyError(f"no file {path}", "a profile, such as configs/own.example.yaml", "mend the path")
        other = root / "configs" / path.name
        if other.is_file() and not other.samefile(path):
            expected = "a name of its own: text and results of a profile are kept under it"
            raise StudyError(f"{path}, which is named as {other} is", expected, "rename your file")
        return path
    path = root / "configs" / f"{checked_name('profile', name)}.yaml"
    if not path.is_file():
        names = profile_names(root)
        close = difflib.get_close_matches(name, names, n=1)
        hint = f"did you mean {close[0]!r}? or write" if close else "name one of them, or write"
        raise StudyError(f"profile {name!r}", f"one of {', '.join(names)}", f"{hint} configs/{name}.yaml")
    return path


def _read_with_like(path: Path, root: Path, within: tuple[Path, ...] = ()) -> dict[str, Any]:
    """Read a profile's settings; those that it does not give are, if it says `like: <name>`, another profile's."""
    content = read_settings(path)
    if content.get("name", path.stem) != path.stem:
        found = f"name = {content['name']!r} in {path}"
        raise StudyError(found, f"the file's own name, {path.stem!r}", "leave `name` out")
    if (other := content.pop("like", None)) is None:
        return content
    if path in within:
        raise StudyError(f"like = {other!r} in {path}, which comes back to it", "an end", "leave one `like` out")
    like = _read_with_like(_profile_path(other, root), root, (*within, path))
    return like | {group: _over(like.get(group), values) for group, values in content.items()}


def _over(like: Any, values: Any) -> Any:
    """Put a group's settings over those that it is like; the study, and the length of a phase, whole."""
    if not isinstance(like, dict) or not isinstance(values, dict):
        return values
    lengths = {"num_steps", "num_epochs"}
    kept = {key: value for key, value in like.items() if key not in lengths or not lengths & set(values)}
    return kept | values


def _in_folder(profile: Profile, folder: str | Path) -> Profile:
    return profile.model_copy(update={"text": profile.text.model_copy(update={"folder": str(folder)})})


def with_replicates(profile: Profile, number: int | None = None) -> Profile:
    """Set how many replicates there are: `number`, else DONTSTOP_REPLICATES, else as the profile has it.

    Raises:
        StudyError: If the variable holds no number of replicates.
    """
    named = os.environ.get("DONTSTOP_REPLICATES")
    if number is None and named:
        if not named.isdecimal() or len(named) > 6 or not 0 < int(named) <= MOST_REPLICATES:
            expected = f"a number from 1 to {MOST_REPLICATES}"
            raise StudyError(f"DONTSTOP_REPLICATES = {named!r}", expected, "mend it, or unset it")
        number = int(named)
    return profile if number is None else profile.model_copy(update={"replicates": number})


def with_whole_paths(profile: Profile, root: Path) -> Profile:
    """Resolve all paths of a profile alike: `~` is the user's home, relative ones begin at the root.

    A name on the hub, which is no folder there, stays as it is, unless encoders/ has a folder of that name.
    """

    def whole(name: str | None, or_on_the_hub: bool = True) -> str | None:
        path = root / at_home(name or "")
        if or_on_the_hub and name is not None and not path.exists() and (here := root / "encoders" / name).is_dir():
            return str(here)
        is_path = name is not None and (path.exists() or not or_on_the_hub or name.startswith((".", "~")))
        return str(path) if is_path else name

    changed = {
        "encoder": {"name": whole(profile.encoder.name)},
        "tokens": {"tokenizer": whole(profile.tokens.tokenizer)},
        "selection": {"sentence_transformer": whole(profile.selection.sentence_transformer)},
        "text": {"folder": whole(profile.text.folder, or_on_the_hub=False)}
        | {"study": with_whole_study(profile.text.study, root)},
    }
    groups = {group: getattr(profile, group).model_copy(update=values) for group, values in changed.items()}
    return profile.model_copy(update=groups | {"released": whole(profile.released, or_on_the_hub=False)})


def parse_profile(content: dict, where: str) -> Profile:
    """Check a mapping of settings against the schema; `where` names it in errors."""
    try:
        return Profile.model_validate(content)
    except ValidationError as error:
        raise StudyError(*_explain(error, where)) from error


def _explain(error: ValidationError, where: str) -> tuple[str, str, str]:
    first, *others = error.errors()
    setting = ".".join(str(part) for part in first["loc"]) or "the profile as a whole"
    more = f" (and {len(others)} more)" if others else ""
    if first["type"] == "extra_forbidden":
        known = _known_settings(first["loc"][:-1])
        close = difflib.get_close_matches(str(first["loc"][-1]), known, n=1)
        remedy = f"write {close[0]!r} instead" if close else f"use one of {', '.join(known)}"
        return f"unknown setting {setting} in {where}{more}", "a setting that the schema knows", remedy
    value = first["input"] if not isinstance(first["input"], dict) else "a mapping"
    advice = "change the value"
    if isinstance(value, str) and first["type"] in ("float_type", "int_type"):
        advice = f"write a number: YAML reads {value!r} as text (5e-4 as well; write 5.0e-4)"
    return f"{setting} = {value!r} in {where}{more}", first["msg"][0].lower() + first["msg"][1:], advice


def _known_settings(location: tuple) -> list[str]:
    model = Profile
    for part in location:
        kind = model.model_fields[part].annotation if part in model.model_fields else None
        nested = [c for c in (kind, *get_args(kind)) if isinstance(c, type) and issubclass(c, Settings)]
        if not nested:
            break
        model = nested[0]
    return sorted(model.model_fields)
