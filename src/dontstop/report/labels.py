"""What names, columns and numbers are called and how they are written: the one place for all tables and figures."""

import functools
from typing import Any, NamedTuple, get_args

import numpy as np
import pandas as pd

from dontstop.profiles import Selector
from dontstop.runs import arms
from dontstop.runs.arms import Arm, Phase

NAIVE_BAYES = "naive_bayes"
RATIOS = ("seconds", "bytes")  # what the claim on costs compares: factors, not differences
P_DECIMALS = 3
_MINUS = "_minus_"  # between the two arms of a contrast, as `effects.over` names it
_MOST_EPOCHS, _MOST_NEIGHBOURS = 300, 1000
_WORDS = {"dapt": "DAPT", "tapt": "TAPT", "lora": "LoRA", "biomed": "BioMed", "cs": "CS"}
_NAMES = {
    **{"not_dapt": "not-DAPT", "dapt_tapt": "DAPT+TAPT", "transfer_tapt": "transfer-TAPT"},
    **{"curated_tapt": "curated-TAPT", "dapt_curated_tapt": "DAPT+curated-TAPT", NAIVE_BAYES: "naive Bayes"},
    **{"lora_dapt": "LoRA-DAPT", "lora_tapt": "LoRA-TAPT", "embedding_tapt": "embedding-TAPT"},
    **{"dapt": "DAPT", "tapt": "TAPT"},
}
SELECTORS = {
    "vampire": "VAMPIRE",
    "tfidf": "tf-idf",
    "encoder": "encoder",
    "sentence_transformer": "sentence transformer",
    "bm25": "BM25",
    "dsir": "DSIR",
    "random": "random",
}


class Column(NamedTuple):
    """How a column is shown: its heading with the unit, its decimals, and whether its numbers bear a sign."""

    label: str
    decimals: int = 1
    signed: bool = False


def _counts(**texts: str) -> dict[str, Column]:
    return {name: Column(text, 0) for name, text in texts.items()}


COLUMNS: dict[str, Column] = {
    **_counts(num_documents="documents", num_words="words in list", num_tokens="tokens", num_bytes="bytes of text"),
    **_counts(num_train="train", num_dev="dev", num_test="test", num_classes="classes", num_texts="texts"),
    **_counts(num_exact="exact", num_contained="contained", num_near_duplicate="near-duplicates", num_steps="steps"),
    **_counts(num_sample_words="words of sample", num_processes="processes", num_epochs="epochs of TAPT"),
    **_counts(num_affected="affected test texts", num_seeds="seeds", num_degenerate="degenerate", num_points="points"),
    **_counts(num_tasks="tasks", num_left_out="pairs left out", num_candidates="candidates", num_selected="selected"),
    **_counts(num_selected_tokens="tokens selected", control_selected="control: selected", control_tokens="its tokens"),
    **_counts(num_text_tokens="tokens of text", tokens_processed="tokens processed", num_neighbours="neighbours (k)"),
    **_counts(tokens_per_second="tokens/s", trainable_parameters="trainable parameters", rank="rank"),
    **_counts(domain_documents="domain documents", task_documents="task documents", seed="seed", step="step"),
    **_counts(source_documents="source documents", labelled_examples="labelled examples"),
    "megabytes": Column("MB of text"),
    "wall_seconds": Column("seconds"),
    "cpu_seconds": Column("CPU-seconds of training"),
    "selection_seconds": Column("CPU-seconds of selection"),
    "tflops": Column("TFLOPs"),
    "percent_trainable": Column("trainable (%)"),
    "megabytes_kept": Column("MB to keep"),
    "gradient_and_optimizer_mb": Column("gradients and optimizer (MB)"),
    "score": Column("F1 × 100"),
    "score_without": Column("F1 × 100 without them"),
    "test_score": Column("test F1", 3),
    "dev_score": Column("dev F1", 3),
    "mean_with": Column("F1 × 100, all seeds"),
    "mean_without": Column("F1 × 100, without degenerate seeds"),
    "mean": Column("mean F1 × 100"),
    "std": Column("std over seeds"),
    "iqm": Column("interquartile mean F1 × 100"),
    "probability_of_improvement": Column("probability of improvement over base", 2),
    "change": Column("change", 2, signed=True),
    "effect": Column("difference", 2, signed=True),
    "gain": Column("gain of DAPT (points)", 1, signed=True),
    "paired": Column("paired difference", 2, signed=True),
    "welch": Column("unpaired difference", 2, signed=True),
    "without_degenerate": Column("without degenerate seeds", 2, signed=True),
    "pareto_optimal": Column("Pareto-optimal"),
    "masked_lm_loss": Column("masked-LM loss (nats)", 2),
    "loss_before": Column("loss before (nats)", 2),
    "loss_after": Column("loss after (nats)", 2),
    "in_domain_delta_loss": Column("in-domain Δ loss (nats)", 2, signed=True),
    "general_delta_loss": Column("general Δ loss (nats)", 2, signed=True),
    "in_domain_loss_before": Column("in-domain loss before (nats)", 2),
    "in_domain_loss_after": Column("in-domain loss after (nats)", 2),
    "general_loss_before": Column("general loss before (nats)", 2),
    "general_loss_after": Column("general loss after (nats)", 2),
    "paper_effect": Column("the paper's difference", 2, signed=True),
    "vocabulary_overlap": Column("vocabulary overlap (%)"),
    "jaccard": Column("Jaccard (%)"),
    "jensen_shannon": Column("Jensen-Shannon divergence (bits)", 3),
    "proxy_a_distance": Column("proxy A-distance (0 to 2)", 2),
    "max_containment": Column("largest share of 5-grams", 2),
    "spearman": Column("rank correlation", 2, signed=True),
    "value": Column("value", 2),
    "npmi": Column("NPMI", 2),
    "share": Column("share of texts (%)"),
    "percent_of_candidates": Column("% of candidates"),
    "percent_of_tokens": Column("% of tokens"),
    "percent_shared_with_control": Column("% shared with control"),
    "highest_mean": Column("highest mean"),
    "num_test_texts": Column("test texts", 0),
    "p_value": Column("p", P_DECIMALS),
    "p_holm": Column("p (Holm)", P_DECIMALS),
    "p": Column("p (Holm)", P_DECIMALS),
    "p_paired": Column("p (paired)", P_DECIMALS),
    "p_welch": Column("p (Welch)", P_DECIMALS),
}


@functools.cache
def _known_arms() -> dict[str, Arm]:
    """Return every arm that a profile may ask for, by name."""
    numbers = range(1, _MOST_NEIGHBOURS + 1)
    made = [arms.short_tapt(epochs) for epochs in range(1, _MOST_EPOCHS + 1)]
    made += [arms.knn_tapt(k, selector) for k in numbers for selector in (None, *get_args(Selector))]
    made += [arms.rand_tapt(k) for k in numbers]
    return {arm.name: arm for arm in made} | arms.ARMS


def known_arm(arm: str | Arm) -> Arm:
    """Return an arm by its name; a name that is none (naive Bayes, say) is taken for an arm without phases."""
    return arm if isinstance(arm, Arm) else _known_arms().get(arm, Arm(arm, ()))


def arm(arm: str | Arm) -> str:
    """Name an arm for a reader: 50NN-TAPT, as the paper does."""
    known = known_arm(arm)
    return _NAMES.get(known.name) or (_phase(known.phases[-1]) if known.phases else spelt(known.name))


def _phase(phase: Phase) -> str:
    if phase.kind == "rand_tapt":
        return f"RAND-TAPT ({phase.k})"
    if phase.kind == "knn_tapt":
        return f"{phase.k}NN-TAPT" + (f" ({SELECTORS[phase.selector]})" if phase.selector else "")
    return f"TAPT ({phase.epochs} epochs)" if phase.epochs else spelt(phase.name)


def with_arms(effects: pd.DataFrame) -> pd.DataFrame:
    """Add to effects of contrasts of two arms the columns arm and other: the arms' names."""
    sides = effects["contrast"].astype(object).str.partition(_MINUS)
    return effects.assign(arm=sides.get(0), other=sides.get(2))


def spelt(name: Any) -> str:
    """Spell a domain's, task's or encoder's id for a reader: `dapt_deep_learning` as `DAPT deep learning`."""
    return " ".join(_WORDS.get(word, word) for word in str(name).split("_"))


def on_lines(name: str) -> str:
    """Spell an id, its last word on a line of its own."""
    return "\n".join(spelt(name).rsplit(" ", 1))


def column(name: str) -> str:
    """Name a column for a reader: with its unit; an arm's or a contrast's by the names of the arms."""
    if name in COLUMNS:
        return COLUMNS[name].label
    a, minus, b = str(name).partition(_MINUS)
    if minus:
        return f"{arm(a)} − {arm(b)}"
    return arm(name) if name in _known_arms() or name in _NAMES else spelt(name)


def number(value: float, decimals: int = 1, *, signed: bool = False) -> str:
    """Write a number: a typographic minus, no minus before zero, no decimals from 1,000 on."""
    if pd.isna(value):
        return "–"
    rounded = round(float(value), decimals if abs(value) < 1000 else 0) + 0.0  # adding zero turns -0.0 into 0.0
    return f"{rounded:{'+' if signed else ''},.{decimals if abs(value) < 1000 else 0}f}".replace("-", "−")


def signed(value: float, decimals: int = 1) -> str:
    """Write a difference with its sign, for a sentence."""
    return number(value, decimals, signed=True)


def text(value: Any, decimals: int = 1, *, signed: bool = False) -> str:
    """Write a cell of a table: a number as `number` does, counts in full, nothing as a dash."""
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if isinstance(value, int | np.integer):
        return f"{value:,}"
    if value is None or value is pd.NA or isinstance(value, float | np.floating):
        return number(np.nan if value is None or value is pd.NA else value, decimals, signed=signed)
    return str(value)
