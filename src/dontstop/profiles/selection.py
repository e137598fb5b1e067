"""Settings of the selection: which text of a domain is added to a task's own, and who retrieves it."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from dontstop.profiles.groups import Count, Fraction, Positive, Seed, Settings

Selector = Literal["vampire", "tfidf", "encoder", "sentence_transformer", "bm25", "dsir"]


class Vampire(Settings):
    """The bag-of-words variational autoencoder that embeds texts for their neighbours.

    Source: Gururangan et al. (2019); the values, from the configuration that the authors' DATA_SELECTION.md names.
    """

    vocabulary_size: Count = 30_000  # the most frequent words, stop words left out
    min_documents: Count = 3  # texts that a word must stand in
    weighting: Literal["tfidf", "counts"] = "tfidf"
    num_topics: Count = 81
    dropout: Fraction = 0.49  # of the latent vector
    batch_size: Count = 512
    learning_rate: Positive = 1.0e-3
    num_epochs: Count = 50
    patience: Count = 5  # epochs without better NPMI before stopping
    kl_warmup_epochs: Count = 1000  # over which the divergence's weight grows from 0 to 1
    embedding: Literal["mean", "shipped"] = "mean"  # of topics and hidden layers; or as the authors' code computed it
    max_texts: Count = 1_000_000  # of the domain, to train on


class Selection(Settings):
    """Which text of the domain is added to a task's own (paper, section 5).

    Source: section 5.2 (neighbours of 50, 150 and 500 a text, VAMPIRE, sentences) and 5.1 (curated text).
    """

    tasks: list[str] | None = None  # the tasks whose text is augmented; None takes all
    granularity: Literal["sentence", "passage", "document"] = "sentence"
    min_words: Count = 5  # of a candidate
    num_neighbours: Annotated[list[Count], Field(min_length=1)] = [50, 150, 500]  # of each training text
    selector: Selector = "vampire"  # of all numbers of neighbours; any but dsir
    compared: list[Selector] = []  # other selectors, each run with the middle number of neighbours
    max_curated_texts: Count | None = None
    num_dimensions: Count = 100  # of tf-idf with truncated SVD
    sentence_transformer: str | None = None  # a folder or hub name, for the selector of that name
    vampire: Vampire = Vampire()
    seed: Seed = 0

    @property
    def selectors(self) -> list[str]:
        """The selector of the main arms, then those compared with it."""
        return [self.selector, *self.compared]

    @property
    def compared_neighbours(self) -> int:
        """The number of neighbours at which selectors are compared: the middle one."""
        return sorted(self.num_neighbours)[len(self.num_neighbours) // 2]

    @model_validator(mode="after")
    def _each_once(self):
        for name, values in (("num_neighbours", self.num_neighbours), ("selector and compared", self.selectors)):
            if len(set(values)) != len(values):
                raise ValueError(f"{name} must differ from one another, got {values}")
        if self.selector == "dsir":
            raise ValueError(
                "dsir draws as much as the main selector finds: name it under compared, beside another one"
            )
        if "sentence_transformer" in self.selectors and self.sentence_transformer is None:
            raise ValueError("the selector sentence_transformer needs a folder or hub name under that setting")
        return self
