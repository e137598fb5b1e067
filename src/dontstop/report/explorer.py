"""Search a domain's candidates by tf-idf, sentence by sentence: a table of neighbours, and a field to type into."""

from collections.abc import Sequence

import numpy as np
from pandas import DataFrame
from sklearn.feature_extraction.text import TfidfVectorizer

from dontstop.errors import StudyError
from dontstop.report.display import styled
from dontstop.runs.results import Results
from dontstop.selection.candidates import load_candidates


class Search:
    """Finds the candidates that share most words with a sentence, rare words counting more.

    Args:
        candidates: The pieces of a domain's corpus.
    """

    def __init__(self, candidates: Sequence[str]):
        self._candidates = np.array(candidates, dtype=object)
        self._words = TfidfVectorizer(sublinear_tf=True, stop_words="english", dtype=np.float32)
        self._weights = self._words.fit_transform(candidates)  # (num_candidates, num_words), rows of length 1

    @classmethod
    def of(cls, study: Results, domain: str) -> "Search":
        """Read the candidates that a study has cut a domain's corpus into.

        Raises:
            StudyError: If nothing has been selected from this domain.
        """
        folder = study.paths.selected / "candidates" / domain
        if not folder.is_dir():
            remedy = f"run `dontstop select -p {study.profile.name}`, or name another domain"
            raise StudyError(f"no candidates of {domain}", "a domain that text was selected from", remedy)
        return cls([text for some in load_candidates(folder).chunks() for text in some])

    def nearest(self, sentence: str, num: int = 5) -> DataFrame:
        """Return the nearest candidates that share a word: rank, similarity (cosine), shared_words, neighbour."""
        query = self._words.transform([sentence])
        cosines = (self._weights @ query.T).toarray().ravel()
        best = [index for index in np.argsort(-cosines, kind="stable")[:num] if cosines[index] > 0]
        words, known = self._words.get_feature_names_out(), set(query.indices)
        shared = [", ".join(words[sorted(known & set(self._weights[index].indices))]) for index in best]
        found = {"rank": range(1, len(best) + 1), "similarity": cosines[best], "shared_words": shared}
        return DataFrame(found | {"neighbour": self._candidates[best]})


def explorer(search: Search, sentence: str = ""):
    """Return a field to type a sentence into, above a table of its nearest candidates, for a live notebook."""
    import ipywidgets

    field = ipywidgets.Text(sentence, placeholder="type a sentence, and press Enter", continuous_update=False)
    field.layout.width, table = "100%", ipywidgets.HTML()

    def show(_change=None) -> None:
        found = search.nearest(field.value)
        table.value = styled(found, 2).to_html() if len(found) else "<p>No candidate shares a word with it.</p>"

    field.observe(show, "value")
    show()
    return ipywidgets.VBox([field, table])
