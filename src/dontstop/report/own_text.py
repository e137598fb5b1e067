"""What is measured of one's own text: sizes, scripts, tokens, texts cut, the gap to general text, other methods."""

import numpy as np
import pandas as pd

from dontstop import tokens
from dontstop.design.arms import Checkpoint
from dontstop.errors import counted
from dontstop.report import measures
from dontstop.runs.results import Results
from dontstop.selection.selectors import EncoderMean
from dontstop.text import inspection, words
from dontstop.text.examples import doubts
from dontstop.text.tasks import GENERAL, SPLITS, Task
from dontstop.verdicts import baselines

SMALL_TEST, SMALL_CLASS, SMALL_CORPUS = 200, 10, 100_000  # texts, texts of one class in train, words
MANY_TOKENS, MANY_UNKNOWN, MANY_CUT = 1.5, 1.0, 10.0  # per word, as a factor of the general text's; percent; percent
OTHER_LANGUAGE = 0.4  # of the general text's share of function words


def corpora(study: Results) -> pd.DataFrame:
    """Tabulate the corpora: columns text, num_documents, num_words, script, percent_script, then those of tokens."""
    stores, sizes = study.token_counts(), study.manifest()["domains"]
    rows = []
    for name, texts in measures.corpus_texts(study).items():
        of_texts = inspection.corpus(texts) | {key: sizes[name][key] for key in ("num_documents", "num_words")}
        num_tokens = stores[f"corpora/{name}"]["num_tokens"]
        per_word = {"tokens_per_word": num_tokens / max(1, of_texts["num_words"])}
        store = tokens.load_token_store(study.paths.store(f"corpora/{name}"))
        rows.append({"text": name} | of_texts | per_word | _unknown(study, store))
    return pd.DataFrame(rows)


def splits(study: Results) -> pd.DataFrame:
    """Tabulate the splits of the tasks: as `inspection.labelled`, with task, tokens and percent_cut.

    A text counts as cut where it fills the whole of `finetune.max_length`; tokens per word are those of the others.
    """
    rows = []
    for task, by_split in measures.examples(study).items():
        longest = study.profile.finetune_for(task).max_length
        for row in inspection.labelled(by_split):
            store = tokens.load_token_store(study.paths.store(f"tasks/{task}/{row['split']}"))
            lengths = np.diff(store.offsets)
            is_whole = lengths < longest
            texts = [of["text"] for of, whole in zip(by_split[row["split"]], is_whole, strict=True) if whole]
            num_words = sum(map(words.num_words, texts))
            per_word = {"tokens_per_word": lengths[is_whole].sum() / num_words if num_words else np.nan}
            cut = {"percent_cut": 100 * float(1 - is_whole.mean())}
            rows.append({"task": task} | row | per_word | _unknown(study, store) | cut)
    return pd.DataFrame(rows).rename(columns={"num_documents": "num_texts"})


def _unknown(study: Results, store: tokens.TokenStore) -> dict[str, float]:
    unknown = tokens.load_tokenizer(study.paths.tokenizer()).unk_token_id
    share = 0.0 if unknown is None else float(np.mean(np.asarray(store.ids) == unknown))
    return {"percent_unknown": 100 * share}


def remarks(study: Results, of_corpora: pd.DataFrame, of_splits: pd.DataFrame) -> list[str]:
    """Say what of the text stands in the way of an answer, a sentence each; nothing where nothing does."""
    of_labels = (f"{task}: {doubt}." for task, some in measures.examples(study).items() for doubt in doubts(some))
    return [*_on_cleaning(study), *_on_corpora(study, of_corpora), *_on_splits(study, of_splits), *of_labels]


def _on_cleaning(study: Results) -> list[str]:
    kinds = {"documents_repeated": "repeated", "documents_short": "too short", "documents_near_duplicate": "alike"}
    counts = study.manifest()["cleaning"]
    gone = ", ".join(f"{counts[key]:,} {word}" for key, word in kinds.items() if counts.get(key))
    found = [f"Of {counts['documents_read']:,} documents these were left out: {gone}."] if gone else []
    leaks = counts.get("documents_leaking", 0)
    told = f"Taken out of the corpora, for a dev or test text that they held: {counted(leaks, 'document')}."
    return found + [told] * bool(leaks)


def _on_corpora(study: Results, table: pd.DataFrame) -> list[str]:
    by_text, found = table.set_index("text"), []
    general = by_text.loc[GENERAL]
    for row in table[table["text"] != GENERAL].itertuples():
        if row.num_words < SMALL_CORPUS:
            found.append(f"The corpus of {row.text} has {row.num_words:,} words: DAPT has little to learn from.")
        if row.script != general["script"]:
            told = f"{row.text} is written in {row.script}, the general text in {general['script']}"
            found.append(f"{told}: give general text in that script, or name an encoder that reads it.")
        elif row.percent_function < OTHER_LANGUAGE * general["percent_function"]:
            told = f"Of the words of {row.text} {row.percent_function:.0f} % are English function words, of the general"
            remedy = "if it is of another language, give general text in that, or name an encoder that reads it"
            found.append(f"{told} text's {general['percent_function']:.0f} %: {remedy}.")
        if (factor := row.tokens_per_word / general["tokens_per_word"]) > MANY_TOKENS:
            remedy = "`tokens.trained_on: all` would give it word pieces of its own"
            found.append(f"A word of {row.text} takes {factor:.1f} times the tokens of one of general text: {remedy}.")
        if row.percent_unknown > MANY_UNKNOWN:
            found.append(f"{row.percent_unknown:.1f} % of the tokens of {row.text} are unknown to the tokenizer.")
    return found


def _on_splits(study: Results, table: pd.DataFrame) -> list[str]:
    found, labels = [], study.profile.labels
    asked = [number for number in (labels.primary, *labels.curve) if number is not None]
    for row in table.itertuples():
        if row.split == "test" and row.num_texts < SMALL_TEST:
            texts = counted(row.num_texts, "text")
            found.append(f"test of {row.task} has {texts}: one text is {100 / row.num_texts:.1f} points.")
        if row.split == "train" and row.smallest_class < SMALL_CLASS:
            found.append(f"The smallest class of {row.task} has {counted(row.smallest_class, 'training text')}.")
        if row.split == "train" and min(asked, default=row.num_classes) < row.num_classes:
            told = f"{row.task} has {row.num_classes} classes, and `labels` asks for {min(asked)} labelled texts"
            found.append(f"{told}: a class without one is hardly ever predicted.")
        if row.num_in_train:
            found.append(f"In train too: {counted(row.num_in_train, f'{row.split} text')} of {row.task}.")
        if row.num_repeated:
            found.append(f"Repeated: {counted(row.num_repeated, f'{row.split} text')} of {row.task}.")
        if row.split == "train" and row.percent_cut > MANY_CUT:
            longest = study.profile.finetune_for(row.task).max_length
            of = f"{row.percent_cut:.0f} % of the texts of {row.task}"
            found.append(f"{of} fill {longest} tokens, the length limit `finetune.max_length`: the rest is not read.")
    return found


def gap(study: Results) -> pd.DataFrame:
    """Tabulate how far each domain is from the general text, by words and by the base encoder's loss on held-out text.

    Columns domain; vocabulary_overlap, percent; masked_lm_loss_general and masked_lm_loss_domain, nats (NaN before the
    encoder is trained).
    """
    overlap = measures.vocabulary_overlap(study)
    losses = study.losses()
    base = losses[losses["encoder"] == "base"].groupby("held_out")["masked_lm_loss"].mean()
    table = pd.DataFrame({"domain": [domain.name for domain in study.domains]})
    table["vocabulary_overlap"] = table["domain"].map(overlap[GENERAL])
    table["masked_lm_loss_general"] = base.get(GENERAL, np.nan)
    table["masked_lm_loss_domain"] = table["domain"].map(base).astype(float)
    return table


def other_methods(study: Results) -> pd.DataFrame:
    """Score naive Bayes, and a linear probe on the base encoder's frozen states, on every replicate's labelled texts.

    Columns task, naive_bayes, linear_probe: the task's metric on test, x 100, means over replicates.
    """
    counted = measures.naive_bayes(study, measures.train_test_overlap(study))["score"]
    examples, replicates = measures.examples(study), range(study.profile.replicates)
    probed = [
        float(np.mean([_probed(study, task, examples[task.name], replicate) for replicate in replicates]))
        for task in study.tasks
    ]
    return pd.DataFrame({"task": counted.index, "naive_bayes": counted.to_numpy(), "linear_probe": probed})


def _probed(study: Results, task: Task, examples: dict[str, list[dict]], replicate: int) -> float:
    longest = study.profile.finetune_for(task.name).max_length
    embedder = EncoderMean(study.checkpoint_folder(Checkpoint((), replicate)), max_length=longest)
    states = {split: embedder.embed([row["text"] for row in examples[split]]) for split in SPLITS}
    truth = {split: study.label_ids(task.name, split) for split in SPLITS}
    return baselines.linear_probe_score(states, truth, task.metric, study.labelled(task.name, replicate))
