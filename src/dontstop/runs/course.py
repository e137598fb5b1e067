"""What an encoder learns of its domain and forgets of the general text while it is trained."""

import numpy as np

from dontstop import tokens
from dontstop.design.arms import Checkpoint
from dontstop.design.plan import held_out_store
from dontstop.errors import StudyError
from dontstop.machine import files
from dontstop.profiles import PhaseSettings, Profile
from dontstop.runs import scratch
from dontstop.runs.scratch import Target
from dontstop.text.tasks import GENERAL
from dontstop.training import mlm, process_group
from dontstop.training.masking import Vocabulary

WATCHED = (8, 4)  # times that it is measured after the start, in DAPT, and in TAPT after it
MOST_TOKENS = 2**15  # of a text, at a time: enough for a hundredth of a nat between two moments, as masks are the same
FILE = "state.course.json"


def watched_texts(checkpoint: Checkpoint) -> tuple[str, ...]:
    """Name the texts on which a checkpoint's course is shown, its domain's and the general one; or none.

    It is shown in the first replicate, of DAPT and of TAPT after it.
    """
    kinds = [phase.kind for phase in checkpoint.phases if phase.part == "all" and phase.epochs is None]
    is_shown = checkpoint.replicate == 0 and kinds in (["dapt"], ["dapt", "tapt"])
    return (checkpoint.phases[0].text, GENERAL) if is_shown and len(kinds) == len(checkpoint.phases) else ()


def num_tokens(checkpoint: Checkpoint) -> int:
    """Return how many tokens are read for a checkpoint's course, at most."""
    texts = watched_texts(checkpoint)
    return len(texts) * MOST_TOKENS * (1 + WATCHED[len(checkpoint.phases) - 1]) if texts else 0


class Course:
    """Measures a training at its start and at even distances, on sequences of held-out text that are spread evenly.

    Measurements are kept beside an unfinished training, which goes on with them; they change nothing about it.
    """

    def __init__(self, profile: Profile, target: Target, checkpoint: Checkpoint, num_steps: int):
        self._profile, self._target, self._path = profile, target, target.folder / FILE
        self._texts, self._steps = watched_texts(checkpoint), []
        if self._texts:
            self._steps = [0, *mlm.check_steps(num_steps, WATCHED[len(checkpoint.phases) - 1])]
        known = self._read()
        if known is None:  # what was measured on the way is measured again
            for path in target.folder.glob(f"{scratch.STATE}*"):
                path.unlink(missing_ok=True)
        self._points = known or []

    def watch(self, model, num_done: int) -> None:
        """Measure a model, where it is time to, and leave it in training; for the first process of a group."""
        if num_done not in self._steps or not process_group.is_main_process():
            return
        if any(row["step"] == num_done for row in self._points):  # by an earlier try, to the same result
            return
        was_training = model.training
        for text in self._texts:
            self._points.append({"step": num_done, "held_out": text, "masked_lm_loss": self._loss(model, text)})
        model.train(was_training)
        files.write_json(self._path, {"points": self._points, "sha256": files.fingerprint(self._points)})

    def known(self) -> dict[str, list[dict]]:
        """Return what has been measured, for the record; of a training that is not shown, or not whole, nothing."""
        found = self._points if self._steps else []
        steps = list(dict.fromkeys(row["step"] for row in found))
        return {"course": found} if found and steps == self._steps[: len(steps)] else {}

    def _loss(self, model, text: str) -> float:
        paths, settings = self._target.paths, self._profile.dapt
        some = _spread(tokens.load_token_store(paths.store(held_out_store(text))), settings)
        vocabulary = Vocabulary.of(tokens.load_tokenizer(paths.tokenizer()))
        how = {"precision": self._target.precision, "seed": settings.seed}
        return mlm.held_out_loss(model, some, vocabulary, settings, **how)[0]

    def _read(self) -> list[dict] | None:
        """Read what an earlier try has measured; None if it is damaged."""
        if not self._path.is_file():
            return []
        try:
            found = files.read_json(self._path)
            return found["points"] if files.fingerprint(found["points"]) == found["sha256"] else None
        except (StudyError, KeyError, TypeError):
            return None


def _spread(store: tokens.TokenStore, settings: PhaseSettings) -> tokens.TokenStore:
    """Return sequences of a store as one, from all over it, as many as are measured."""
    length = settings.sequence_length
    num = min(store.num_sequences(length), max(1, MOST_TOKENS // length))
    chosen = np.linspace(0, store.num_sequences(length) - 1, num).round().astype(np.int64)
    ids = store.sequences(chosen, length).reshape(-1)
    return tokens.TokenStore(ids, np.array([0, len(ids)]))
