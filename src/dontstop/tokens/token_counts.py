"""What the tokenizer made of the prepared text: unknown and special tokens counted, texts without tokens found."""

from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd

from dontstop import tokens
from dontstop.errors import StudyError
from dontstop.machine import files
from dontstop.profiles import Paths
from dontstop.tokens.stores import TokenStore

ORDINARY, UNKNOWN, SPECIAL = range(3)
STRUCTURAL = ("bos", "eos", "cls", "sep", "pad", "mask")
CHUNK = 4_000_000  # tokens in memory at a time
FEWEST_ORDINARY = 0.5  # of the tokens between the start and the end of texts; of fewer, results would mean nothing
WORTH_A_WARNING = 0.001

REMEDY = "name an encoder whose tokenizer knows this text's script, or let the study train its own"

Line = tuple[str, str, str]  # level (`well`, `warning`, `broken`), what was found, what to do about it


def counts(paths: Paths) -> pd.DataFrame:
    """Count the tokens of every prepared text by their kind.

    Returns:
        Index store; columns documents, tokens (but for those that begin and end every text), unknown, special (inside
        the text), without (documents without a token that could be masked), empty (documents without any token).
    """
    tokenizer = tokens.load_tokenizer(paths.tokenizer())
    kinds = np.zeros(max(len(tokenizer), max(tokenizer.get_vocab().values()) + 1), np.uint8)
    kinds[tokenizer.all_special_ids] = SPECIAL
    if (unknown := tokenizer.unk_token_id) not in {getattr(tokenizer, f"{name}_token_id") for name in STRUCTURAL}:
        kinds[unknown] = UNKNOWN
    names = files.read_json(paths.data / "tokens" / "manifest.json")["stores"]
    added = tokenizer.num_special_tokens_to_add()
    rows = {name: _count(tokens.load_token_store(paths.store(name)), kinds, added) for name in names}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("store")


def _count(store: TokenStore, kinds: np.ndarray, added: int) -> dict[str, int]:
    total, without, first = np.zeros(3, np.int64), 0, 0
    while first < len(store):
        start = store.offsets[first]
        last = max(first + 1, int(np.searchsorted(store.offsets, start + CHUNK, side="right")) - 1)
        of_tokens = kinds[store.ids[start : store.offsets[last]]]
        total += np.bincount(of_tokens, minlength=3)
        before = np.concatenate([[0], np.cumsum(of_tokens == ORDINARY)])
        without += int((np.diff(before[store.offsets[first : last + 1] - start]) == 0).sum())
        first = last
    around = added * len(store)
    found = {"documents": len(store), "tokens": int(total.sum()) - around, "unknown": int(total[UNKNOWN])}
    found |= {"special": max(0, int(total[SPECIAL]) - around), "without": without}
    return found | {"empty": int((np.diff(store.offsets) == 0).sum())}


def lines(table: pd.DataFrame) -> Iterator[Line]:
    """Yield what is to be known of tokenised text, given what `counts` returns; nothing where there is nothing."""
    tasks = table[table.index.str.startswith("tasks/")]
    if tasks["empty"].any():
        yield "broken", f"texts without a token: {_listed(tasks['empty'])}", "remove those rows from the task's files"
    ordinary = table["tokens"] - table["unknown"] - table["special"]
    few = ordinary < FEWEST_ORDINARY * table["tokens"]
    for kind in ("unknown", "special"):  # which some tokenizers have in place of an unknown one
        share = table[kind] / table["tokens"].clip(lower=1)
        if (most := few & (share >= FEWEST_ORDINARY / 2)).any():
            yield "broken", f"mostly {kind} tokens, which are never masked: {_listed(share[most], '{:.0%}')}", REMEDY
        elif (number := table[kind].sum()) > 0:
            level = "warning" if number > WORTH_A_WARNING * table["tokens"].sum() else "well"
            yield level, f"{kind} tokens in the text: {_listed(table[kind])}", REMEDY if level == "warning" else ""
    if table["without"].any():
        found = f"documents without a token that could be masked: {_listed(table['without'])}"
        yield "warning", found, "look at those texts"


def _listed(numbers: pd.Series, form: str = "{:,}", most: int = 4) -> str:
    some = numbers[numbers > 0].sort_values(ascending=False, kind="stable")
    named = ", ".join(f"{form.format(value)} in {name}" for name, value in some.iloc[:most].items())
    return named + (f", and in {len(some) - most} others" if len(some) > most else "")


def check(paths: Paths, say: Callable[[str], None]) -> None:
    """Say what is to be known of tokenised text.

    Raises:
        StudyError: If results on it would mean nothing.
    """
    found = [*lines(counts(paths))]
    for level, what, _ in found:
        if level != "broken":
            say(f"prepare: {what}")
    if broken := [line for line in found if line[0] == "broken"]:
        what, remedies = ("; ".join(dict.fromkeys(line[part] for line in broken)) for part in (1, 2))
        raise StudyError(what, "text that the tokenizer turns into tokens which can be masked", remedies)
