"""What the encoder and the tokenizer that a profile names are held to, before any text is read: all of it at once."""

import bisect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import torch

from dontstop.errors import StudyError
from dontstop.machine import pretrained, progress, weights
from dontstop.profiles import Finetune, PhaseSettings, Profile
from dontstop.tokens import tokenizer as tokenizers
from dontstop.training import encoders, process_group

SPARE_ROWS, SPARE_SHARE = 512, 0.02  # embeddings without a token, which makers add to have a round number
PADDING_EFFECT = 1e-4  # of the states' deviation; rounding is a hundredth of it
SHORT = 7  # tokens of a trial sequence: odd, as texts of a task are
LEAST_EFFECT = 1e-6  # of the states' deviation: what a token does to the first one's state, but for rounding


@dataclass(frozen=True)
class Misfit:
    """One thing that does not fit.

    Attributes:
        level: `broken` where a run would fail or mean nothing, `warning` where it should be known, else `well`.
    """

    level: str
    found: str
    expected: str
    remedy: str


def check(profile: Profile, given: str | None = None, *, num_processes: int = 1) -> None:
    """Hold the encoder and the tokenizer that a profile names to its settings, and say its warnings, each once.

    Args:
        given: A folder that holds both, where they were taken before; those that the profile names unless given.
        num_processes: Of torchrun, that will train it.

    Raises:
        StudyError: One, that tells of everything that does not fit.
    """
    found = misfits(profile, given, num_processes=num_processes)
    if broken := [one for one in found if one.level == "broken"]:
        parts = zip(*((one.found, one.expected, one.remedy) for one in broken), strict=True)
        raise StudyError(*map(_together, parts))
    for one in found if process_group.is_main_process() else ():
        if one.level == "warning":
            line = f"encoder: {one.found}; expected: {one.expected}; do this: {one.remedy}"
            progress.say_once(line.replace(given, profile.encoder.name) if given else line)


def _together(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else "; ".join(f"({k}) {part}" for k, part in enumerate(parts, 1))


def findings(profile: Profile) -> pd.DataFrame:
    """Return all that does not fit, the worst first: columns level, found, expected, remedy."""
    table = pd.DataFrame(misfits(profile), columns=list(Misfit.__dataclass_fields__))
    return table.sort_values("level", kind="stable", ignore_index=True)


def misfits(profile: Profile, given: str | None = None, *, num_processes: int = 1) -> list[Misfit]:
    """Return all that does not fit of a profile's encoder and tokenizer, in the order of finding it."""
    given, name = given or profile.encoder.name, given or profile.tokens.tokenizer
    found, faults, loaded = [*_batches(profile)], _faults(profile, given, name), {}
    found += [_broken(error) for errors in faults.values() for error in errors]
    for source, load in ((name, tokenizers.load_given), (given, _load)):
        if source is not None and not faults.get(source):
            try:
                loaded[load] = load(source)
            except StudyError as error:
                found.append(_broken(error))
    tokenizer, (model, about) = loaded.get(tokenizers.load_given), loaded.get(_load, (None, None))
    found += [] if tokenizer is None else _tokenizer(profile, name, tokenizer)
    if model is not None:
        found += [*_weights(profile, given, about), *_numbers(given, model), *_lengths(profile, given, model)]
        found += _unused_by(num_processes, given, model) if num_processes > 1 else []
        found += [] if tokenizer is None else _vocabulary(name, given, model, tokenizer)
    return found


def _load(name: str):
    from transformers import AutoModelForMaskedLM

    how = {"dtype": torch.float32, "use_safetensors": True, "output_loading_info": True}
    return pretrained.load(AutoModelForMaskedLM, name, **how)


def _broken(error: StudyError) -> Misfit:
    return Misfit("broken", error.found, error.expected, error.remedy)


# Settings and files ----------------------------------------------------------------------------------------------


def phases(profile: Profile) -> dict[str, PhaseSettings]:
    """Return the phases of pretraining that a profile has, by the names of their settings.

    That of augmented text only where the profile sets it: it has the paper's values otherwise, and many never use it.
    """
    found = {"base": profile.base, "dapt": profile.dapt, "tapt": profile.tapt}
    found |= {"augmented_tapt": profile.augmented_tapt} if "augmented_tapt" in profile.model_fields_set else {}
    found |= {f"task_tapt.{task}": profile.tapt_for(task) for task in profile.task_tapt}
    return {name: settings for name, settings in found.items() if settings is not None}


def classifiers(profile: Profile) -> dict[str, Finetune]:
    """Return the settings of fine-tuning that a profile has, by the names of their settings."""
    return {"finetune": profile.finetune} | {
        f"task_finetune.{task}": profile.finetune_for(task) for task in profile.task_finetune
    }


def _batches(profile: Profile) -> Iterator[Misfit]:
    for name, settings in phases(profile).items():
        if settings.num_shards > settings.batch_size:
            found = f"{name}.num_shards = {settings.num_shards} with {name}.batch_size = {settings.batch_size}"
            expected = "a sequence or more in each part of a batch"
            yield Misfit("broken", found, expected, f"set {name}.num_shards to {settings.batch_size} or less")


def _faults(profile: Profile, given: str | None, tokenizer: str | None) -> dict[str, list[StudyError]]:
    """Return what is wrong with the files of each folder that is named; a name on a hub is its loader's to tell."""
    some = [given] if given else []
    if profile.released is not None:
        some += sorted(str(path) for path in Path(profile.released).glob("*"))
    folders = [name for name in dict.fromkeys([*some, tokenizer]) if name and Path(name).is_dir()]
    return {name: _faults_of(Path(name), has_weights=name in some) for name in folders}


def _faults_of(folder: Path, *, has_weights: bool) -> list[StudyError]:
    try:
        pretrained.refusing_code(folder)
    except StudyError as error:
        return [error]
    return [*weights.file_faults(folder), *(weights.weight_faults(folder) if has_weights else [])]


# The tokenizer ---------------------------------------------------------------------------------------------------


def _tokenizer(profile: Profile, name: str, tokenizer) -> Iterator[Misfit]:
    if not tokenizer.is_fast:
        found = f"{type(tokenizer).__name__} of {name}, a slow tokenizer that Transformers has no fast one for"
        yield Misfit("broken", found, "one with tokenizer.json", "name an encoder that has one")
        return
    for kind in ("mask", "pad"):
        if getattr(tokenizer, f"{kind}_token_id") is None:
            found, expected = f"no {kind} token in the tokenizer {name}", "the tokenizer of a masked-LM encoder"
            remedy = f"set {kind}_token in its tokenizer_config.json, or name another encoder"
            yield Misfit("broken", found, expected, remedy)
    mask, others = tokenizer.mask_token_id, ("pad", "unk", "cls", "sep")
    same = [kind for kind in others if getattr(tokenizer, f"{kind}_token_id") == mask]
    if mask is not None and same:
        found = f"a mask token {tokenizer.mask_token!r} that is the {same[0]} token too in the tokenizer {name}"
        remedy = "set mask_token in its tokenizer_config.json to the one that the encoder was trained with"
        yield Misfit("broken", found, "a mask token of its own", remedy)
    if tokenizer.truncation_side != "right":
        lengths = {settings.max_length for settings in classifiers(profile).values()}
        found = f"truncation_side = {tokenizer.truncation_side} in the tokenizer {name}: texts lose their beginning"
        level = "broken" if len(lengths) > 1 else "warning"  # shorter ones are cut from what is stored, at its end
        yield Misfit(level, found, "texts cut at their end", "set truncation_side to right in tokenizer_config.json")
    if tokenizer.num_special_tokens_to_add() == 0:
        found = f"no start and no end token around texts by the tokenizer {name}"
        remedy = "give its tokenizer.json a post-processor, if the encoder was trained with such tokens"
        yield Misfit("warning", found, "tokens that tell where a text begins and ends", remedy)


# The encoder -----------------------------------------------------------------------------------------------------


def _weights(profile: Profile, given: str, about: dict) -> Iterator[Misfit]:
    if missing := sorted(about["missing_keys"]):
        found = (
            f"{len(missing)} parameters missing from the weights of {given} ({missing[0]}, ...): they begin at random"
        )
        if profile.base is None:
            remedy = "give base a phase on general text, which trains them; or name an encoder with its LM head"
            yield Misfit("warning", found, "an LM head", remedy)
        else:
            yield Misfit("well", found, "the phase `base`, which trains them", "")
    if unknown := sorted(about["unexpected_keys"]):
        found = f"{len(unknown)} names in the weights of {given} that a masked LM has no place for ({unknown[0]}, ...)"
        yield Misfit("warning", found, "names of the encoder's parameters", "nothing, if they are another head's")


def _numbers(given: str, model) -> Iterator[Misfit]:
    wrong = [name for name, values in model.named_parameters() if not values.isfinite().all()]
    if wrong:
        found = f"{len(wrong)} parameters of {given} that are not finite ({wrong[0]}, ...)"
        yield Misfit("broken", found, "finite numbers", "fetch it again, or name another encoder")


def _vocabulary(name: str, given: str, model, tokenizer) -> Iterator[Misfit]:
    ids = tokenizer.get_vocab()
    size, rows = max(len(tokenizer), max(ids.values()) + 1), model.get_input_embeddings().num_embeddings
    expected = "an encoder with the tokenizer that it was trained with"
    remedy = "set tokens.tokenizer to the encoder's own, or name another encoder"
    found = f"{size:,} word pieces in the tokenizer, {rows:,} in {given}"
    if size > rows:
        resized = "; after adding tokens, save the encoder with `resize_token_embeddings`"
        yield Misfit("broken", found, expected, remedy + resized)
    elif rows - size > max(SPARE_ROWS, SPARE_SHARE * rows):
        yield Misfit("broken", found, expected, remedy)
    elif name != given and (differ := _differing(ids, given)):
        found = f"{len(differ):,} word pieces with other ids in {name} than in {given}'s own"
        yield Misfit("broken", found, expected, remedy)
    pad = model.config.get_text_config().pad_token_id
    if pad is None or (tokenizer.pad_token_id is not None and pad != tokenizer.pad_token_id):
        found = f"pad_token_id = {pad} in the config.json of {given}, {tokenizer.pad_token_id} in its tokenizer"
        yield Misfit("broken", found, "one and the same", "set pad_token_id in config.json to the tokenizer's")


def _differing(ids: dict[str, int], given: str) -> list[str]:
    """Return the word pieces with other ids in the tokenizer that stands beside an encoder; none where none does."""
    own = tokenizers.load_given(given).get_vocab() if (Path(given) / "tokenizer.json").is_file() else {}
    return [token for token, index in ids.items() if own.get(token, index) != index]


def _lengths(profile: Profile, given: str, model) -> Iterator[Misfit]:
    """Try the lengths that are asked for: what position tables hold, and from where on, differs between families."""
    wanted = {f"{name}.sequence_length": settings.sequence_length for name, settings in phases(profile).items()}
    wanted |= {f"{name}.max_length": settings.max_length for name, settings in classifiers(profile).items()}
    if (reason := _fails(model, SHORT)) is not None:
        expected = "a masked LM whose body gives states of its tokens"
        found = f"{given}, of the family {model.config.model_type}: {reason}"
        yield Misfit("broken", found, expected, "name another encoder")
        return
    yield from one_way(given, model)
    longest = max(wanted.values())
    if _fails(model, longest) is None:
        known = getattr(model.config.get_text_config(), "max_position_embeddings", None)
        if isinstance(known, int) and known < longest:
            found = f"sequences of {longest} tokens, where {given} was trained with up to {known}"
            yield Misfit("warning", found, f"at most {known}", "lower sequence_length and max_length")
        if longest > SHORT + 4 and (effect := padding_effect(model)) > PADDING_EFFECT:
            found = f"states of {given} that depend on the padding beside a text (by {effect:.2g} of their deviation)"
            yield Misfit("warning", found, "states that do not", "nothing: scores depend a little on batches' lengths")
        return
    between = range(SHORT + 1, longest)
    fits = SHORT + bisect.bisect_left(between, True, key=lambda length: _fails(model, length) is not None)
    too_long = [f"{name} = {length}" for name, length in wanted.items() if length > fits]
    expected = f"at most {fits} tokens, all that {given} has positions for"
    yield Misfit("broken", ", ".join(too_long), expected, f"lower {'them' if len(too_long) > 1 else 'it'} to {fits}")


def one_way(given: str, model) -> Iterator[Misfit]:
    """Find an encoder whose first state does not change with the last token: a decoder, or one of empty weights."""
    whole, pad = _sequence(model, SHORT), model.config.get_text_config().pad_token_id
    other = whole.where(torch.arange(SHORT) < SHORT - 1, torch.tensor(3 if pad == 1 else 1))
    states, changed = _states(model, whole), _states(model, other)
    if (states - changed)[0, 0].abs().max() <= LEAST_EFFECT * states.std():
        causal = getattr(model.config.get_text_config(), "is_decoder", False)
        why = ", as is_decoder in config.json says" if causal else ": it reads one way, or its weights tell nothing"
        remedy = "set is_decoder to false in config.json" if causal else "fetch it again, or name another encoder"
        found = f"states of {given} that do not depend on the tokens after them{why}"
        yield Misfit("broken", found, "an encoder that reads a text both ways", remedy)


def _fails(model, length: int) -> str | None:
    """Return why an encoder cannot read a sequence of a length, as it is pretrained and as it is fine-tuned."""
    ids = _sequence(model, length)
    try:
        with torch.no_grad():
            encoders.masked_lm_loss(model.eval(), ids, torch.tensor([0]), torch.tensor([0]))
            encoders.final_states(model.base_model, ids, torch.ones_like(ids, dtype=torch.bool)).shape[2]
    except (RuntimeError, IndexError, ValueError, TypeError, KeyError, AttributeError, AssertionError) as error:
        return str(error).strip().partition("\n")[0] or type(error).__name__
    return None


def _sequence(model, length: int) -> torch.Tensor:
    """Return one sequence, (1, length), of a token that is not the padding."""
    return torch.full((1, length), 0 if model.config.get_text_config().pad_token_id else 2)


def _unused_by(num_processes: int, given: str, model) -> Iterator[Misfit]:
    """Find parameters that the masked-LM loss does not depend on, such as a pooler's."""
    encoders.masked_lm_loss(model, _sequence(model, SHORT), torch.tensor([0]), torch.tensor([0])).backward()
    if unused := [name for name, parameter in model.named_parameters() if parameter.grad is None]:
        found = f"{len(unused)} parameters of {given} that a masked LM leaves unused ({unused[0]}, ...)"
        expected = f"every parameter in use, for {num_processes} processes of torchrun"
        yield Misfit("broken", found, expected, "train it without torchrun: `dontstop run` does")


def padding_effect(model) -> float:
    """Return by how much a text's states differ once padding stands beside it, over their standard deviation."""
    whole, num = _sequence(model, SHORT + 4), SHORT
    is_text = (torch.arange(SHORT + 4) < num)[None]
    padded = whole.where(is_text, torch.tensor(model.config.get_text_config().pad_token_id or 0))
    alone, beside = _states(model, whole[:, :num]), _states(model, padded, is_text)[:, :num]
    return ((alone - beside).abs().max() / alone.std()).item()


def _states(model, ids: torch.Tensor, is_text: torch.Tensor | None = None) -> torch.Tensor:
    """Return the body's states of sequences, (num, length, hidden_size), that are text all over unless told."""
    with torch.no_grad():
        is_text = torch.ones_like(ids, dtype=torch.bool) if is_text is None else is_text
        return encoders.final_states(model.base_model.eval(), ids, is_text)
