"""Where the paper's tasks, and today's substitutes for its corpora, can be found: addresses and licences as data."""

from dataclasses import dataclass

from dontstop.errors import chosen
from dontstop.studies import read_study
from dontstop.text.tasks import GENERAL

# <BUCKET>/<task>/<split>.jsonl, with the ids of `tasks`.
BUCKET = "https://allennlp.s3-us-west-2.amazonaws.com/dont_stop_pretraining/data"

# Data sets of a hub with the same splits.
HUB_TASKS = {
    "chemprot": "yxchar/chemprot-tlm",
    "rct-20k": "yxchar/rct-20k-tlm",
    "citation_intent": "yxchar/citation_intent-tlm",
    "sciie": "yxchar/sciie-tlm",
    "hyperpartisan_news": "yxchar/hyp-tlm",
    "ag": "yxchar/ag-tlm",
    "amazon": "yxchar/amazon-tlm",
    "imdb": "yxchar/imdb-tlm",
}

# The texts of the authors' TAPT encoders; the number in a name counts them. RCT's are all, so not for RCT-500.
_TEXTS = {
    "tapt": {
        "chemprot": "chemprot_4169",
        "rct-20k": "rct_180K",
        "citation_intent": "citation_intent_1688",
        "sciie": "sciie_3219",
        "hyperpartisan_news": "hyperpartisan_news_515",
        "ag": "ag_115K",
        "amazon": "amazon_helpfulness_115K",
        "imdb": "imdb_20000",
    },
    "curated_tapt": {"hyperpartisan_news": "hyperpartisan_news_5015", "imdb": "imdb_70000"},
}

# The authors' encoders, by the checkpoint's name in this study.
RELEASED = {f"dapt_{domain}": f"allenai/{domain}_roberta_base" for domain in ("biomed", "cs", "news", "reviews")}
for _kind, _names in _TEXTS.items():
    for _task, _name in _names.items():
        _domain = read_study("paper").task(_task).domain
        RELEASED[f"{_kind}_{_task}"] = f"allenai/dsp_roberta_base_tapt_{_name}"
        RELEASED[f"dapt_{_domain}_then_{_kind}_{_task}"] = f"allenai/dsp_roberta_base_dapt_{_domain}_tapt_{_name}"


@dataclass(frozen=True)
class CorpusSource:
    """A data set that can stand in for a domain, and how its documents are distinguished from others.

    Attributes:
        path, name, data_files, split: As `datasets.load_dataset` takes them.
        column: Of the text.
        any_of: Words of which a document must hold `num_words_of` different ones; none keeps every document.
        licence, homepage: As its publishers give them.
        remark: How it differs from the paper's corpus (Table 1).
    """

    path: str
    licence: str
    homepage: str
    remark: str
    name: str | None = None
    data_files: str | None = None
    split: str = "train"
    column: str = "text"
    any_of: tuple[str, ...] = ()
    num_words_of: int = 3


_PES2O = {
    "path": "json",
    "data_files": "hf://datasets/allenai/peS2o/data/v2/train-*.json.gz",
    "licence": "ODC-By 1.0",
    "homepage": "https://github.com/allenai/peS2o",
}

# Departure: the paper's corpora were never released (its footnote 1); these are of the same kind, not the same text.
CORPORA = {
    "biomed": CorpusSource(
        **_PES2O,
        remark="the paper: 2.68 million papers of S2ORC on biomedicine; peS2o names no field, so words decide",
        any_of=("patients", "clinical", "disease", "protein", "gene", "cells", "tumor", "therapy", "mice", "receptor"),
    ),
    "cs": CorpusSource(
        **_PES2O,
        remark="the paper: 2.22 million papers of S2ORC on computer science; peS2o names no field, so words decide",
        any_of=("algorithm", "algorithms", "software", "neural network", "classifier", "computational complexity")
        + ("machine learning", "state-of-the-art", "query", "throughput"),
    ),
    "news": CorpusSource(
        path="allenai/c4",
        name="realnewslike",
        licence="ODC-By 1.0, and the terms of Common Crawl",
        homepage="https://huggingface.co/datasets/allenai/c4",
        remark="the paper: 11.90 million articles of RealNews; this is C4 cut to RealNews's sites",
    ),
    "reviews": CorpusSource(
        path="json",
        data_files="hf://datasets/McAuley-Lab/Amazon-Reviews-2023/raw/review_categories/*.jsonl",
        licence="as its homepage says; for research",
        homepage="https://amazon-reviews-2023.github.io",
        remark="the paper: 24.75 million Amazon reviews (He and McAuley, 2016); this is their successor",
    ),
    GENERAL: CorpusSource(
        path="wikimedia/wikipedia",
        name="20231101.en",
        licence="CC BY-SA 4.0 and GFDL",
        homepage="https://dumps.wikimedia.org",
        remark="RoBERTa read 160 GB of web pages, news, books and Wikipedia; for an encoder trained from scratch",
    ),
}


def corpus_source(domain: str) -> CorpusSource:
    """Return the source of a domain's text, or of the general text.

    Raises:
        StudyError: If there is none.
    """
    return chosen("domain", domain, CORPORA, "name one of them, or put your own text into the mirror")
