"""Settings of the text: where it comes from, how it is divided, and the tokenizer."""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from dontstop.profiles.groups import Count, Fraction, Seed, Settings
from dontstop.profiles.paths import find_root
from dontstop.studies import StudyText, parse_study, read_study


class MaxExamples(Settings):
    """Examples taken from the splits that are given, at most; None takes all.

    Departure: the paper trains on all that Table 2 lists; a small encoder trained from scratch cannot on two cores.
    """

    train: Count | None = None
    dev: Count | None = None
    test: Count | None = None


class Text(Settings):
    """Where the text comes from and how it is divided."""

    source: Literal["docstrings", "files"] = "docstrings"
    study: StudyText = Field(exclude=True)  # a name of configs/studies, or its content; `docstrings`, else `paper`
    folder: str | None = None  # `files` only: a mirror, absolute or from the root; DONTSTOP_MIRROR goes before it
    follow_links: bool = False  # `files` only: whether symbolic links may lead out of the mirror; changes no text
    empty_rows: Literal["skip", "stop"] = "skip"  # `files` only, as the next three: rows without a text
    bad_rows: Literal["skip", "stop"] = "stop"  # rows that cannot be read
    max_line_megabytes: Count = 10  # of a line or text; what is longer is a bad row
    max_unpacked_ratio: Count = 200  # of a compressed file's content to its size; anything may unpack to 64 MB
    tasks: Annotated[list[str], Field(min_length=1)] | None = None  # `files` only: which tasks; None takes all
    may_lack: list[str] = []  # those of them that the study goes on without where the mirror lacks them
    max_examples: MaxExamples = MaxExamples()  # `files` only
    low_resource: dict[str, Count] = {}  # `files` only: training examples of a task, such as 500 for RCT-500
    split_seed: Seed = 0
    max_documents: Count | None = None  # of a corpus, by content hash; None takes all
    held_out_fraction: Fraction = 0.05
    num_train: Count = 500
    num_dev: Count = 500
    num_test: Count = 1000
    min_words: Count = 8  # of a document
    min_example_words: Count = 25  # `docstrings` only: of a task's text, so that it takes reading
    leak_containment: Fraction = 0.5  # share of a test or dev text's word 5-grams in one document that makes a leak
    near_duplicate_jaccard: Fraction = 0.8

    @model_validator(mode="before")
    @classmethod
    def _with_study(cls, content: Any) -> Any:
        """Put the study itself where its name or its content stands."""
        if not isinstance(content, dict):
            return content
        study = content.get("study", "paper" if content.get("source") == "files" else "docstrings")
        if isinstance(study, str):
            study = read_study(study, find_root())
        elif isinstance(study, dict):
            study = parse_study(study, "text.study")
        own = {"source": "files"} if isinstance(study, StudyText) and study.is_own else {}
        return content | {"study": study} | own


MOST_WORD_PIECES = 1_000_000  # for so many the trainer takes memory before it has read any text


class Tokens(Settings):
    """The tokenizer: trained here, or a Transformers folder's own."""

    vocabulary_size: Annotated[Count, Field(le=MOST_WORD_PIECES)] = 8192
    trained_on: Literal["general", "all"] = "general"  # the general corpus alone, or the domains' corpora too
    tokenizer: str | None = None  # a folder or hub name; None trains a byte-level BPE


class DomainGap(Settings):
    """Distances between text samples (paper, section 3.1)."""

    num_words: Count = 10_000
    num_documents: Count = 50_000  # of a corpus, as in the paper, if it has so many
    num_resamples: Count = 1000
    num_classifier_documents: Count = 1000
    seed: Seed = 0
