"""A replicate's selection: what it shares with other replicates, what is its own, and that it comes out again."""

import numpy as np
import pytest

import tiny
from dontstop import tokens
from dontstop.design.arms import Checkpoint
from dontstop.errors import StudyError
from dontstop.machine import files
from dontstop.profiles import Paths
from dontstop.runs import identity
from dontstop.runs.augmentation import CANDIDATES_FILE, Selections
from dontstop.runs.identity import Identity
from dontstop.runs.jobs import Jobs
from dontstop.runs.scratch import Scratch
from dontstop.runs.selections import is_known
from dontstop.selection.candidates import load_candidates
from dontstop.study import Study

SETTINGS = {
    "num_neighbours": [1, 3],
    "compared": ["tfidf", "bm25", "dsir"],
    "min_words": 3,
    "num_dimensions": 4,
    "vampire": {"num_topics": 4, "num_epochs": 2, "batch_size": 64, "min_documents": 1, "vocabulary_size": 200},
}
OWN = "bale bale dipu kamo nodu lemi bale"  # a sentence of a training text of CS, and of CS's corpus
NAMES = {"1", "3", "3_tfidf", "3_bm25", "3_dsir"}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """Make a tiny study's text, of many short documents."""
    root = tiny.make(tmp_path_factory.mktemp("selection"), selection=SETTINGS)
    for domain in tiny.DOMAINS:
        texts = [text for num in range(6, 13) for text in tiny.texts(domain, f"{num} words", 150, num)]
        texts[7] = f"Zero zero zero. {OWN.capitalize()}."
        tiny.write_lines(root / "texts/corpora" / f"{domain}.jsonl", [{"text": text} for text in texts])
    rows = tiny.examples("citation_intent", "train")
    rows[0]["text"] = f"{OWN.capitalize()}. And so on it goes here."
    tiny.write_lines(root / "texts/tasks/citation_intent/train.jsonl", rows)
    with tiny.at(root):
        Study("tiny").prepare()
    return root


def selections(root, replicate, **changes):
    with tiny.at(root):
        study = Study("tiny")
    profile = study.profile.model_copy(update={"selection": study.profile.selection.model_copy(update=changes)})
    paths = Paths("tiny", root)
    identity = Identity(profile, paths)
    some = Jobs(profile, paths, identity, Scratch(paths, identity.capability))
    return Selections(some, study.tasks, study.tasks, replicate)


def select(root, replicate) -> list[str]:
    """Select a replicate's text in this process, and return the names of the jobs that it took."""
    wanted = selections(root, replicate)
    todo = wanted.jobs()
    for job in todo:
        job.function(*job.arguments)
    assert not wanted.is_written() and not wanted.jobs()
    wanted.write(lambda line: None)
    assert wanted.is_written()
    return [job.name for job in todo]


def sets_of(root, replicate) -> dict[str, np.ndarray]:
    folder = root / "selected/tiny" / f"replicate_{replicate}"
    found = {path.parent.relative_to(folder).as_posix(): path for path in folder.rglob("chosen.npy")}
    return {name: np.load(path) for name, path in found.items()}


@pytest.fixture(scope="module")
def selected(prepared):
    """Select two replicates, and say what jobs each took."""
    return prepared, [select(prepared, replicate) for replicate in (0, 1)]


def test_a_ranking_serves_a_domain_and_what_has_nothing_random_all_replicates(selected):
    _, (first, second) = selected
    shared = [f"{domain} by {selector}" for domain in tiny.DOMAINS for selector in ("tfidf", "bm25", "dsir")]
    own = [[f"{domain} by vampire, replicate {r}" for domain in tiny.DOMAINS] for r in (0, 1)]
    assert sorted(first) == sorted([f"candidates of {domain}" for domain in tiny.DOMAINS] + shared + own[0])
    assert sorted(second) == own[1]


def test_every_set_stands_there_with_its_control_and_is_entered_under_its_name(selected):
    root, _ = selected
    for replicate in (0, 1):
        found = sets_of(root, replicate)
        assert set(found) == {
            f"{task}/{kind}_tapt_{n}" for task in tiny.TASKS for kind in ("knn", "rand") for n in NAMES
        }
        manifest = files.read_json(root / "selected/tiny" / f"replicate_{replicate}" / "manifest.json")
        assert set(manifest["stores"]) == {f"selected/replicate_{replicate}/{name}" for name in found}
        for name, entry in manifest["stores"].items():
            store = tokens.load_token_store(Paths("tiny", root).store(name))
            num_own = tiny.SPLITS["train"]
            assert entry["num_selected"] == len(store) - num_own == len(found[name.split("/", 2)[2]])
        for name in (name for name in found if "knn" in name):
            control = name.replace("knn", "rand")
            assert not np.intersect1d(found[name], found[control]).size
            ours, theirs = (manifest["stores"][f"selected/replicate_{replicate}/{n}"] for n in (name, control))
            assert ours["num_selected"] == theirs["num_selected"] > 0
            # Most of these texts differ by four tokens or a multiple of that: no nearer match can be had.
            assert theirs["num_selected_tokens"] == pytest.approx(ours["num_selected_tokens"], abs=4)


def test_replicates_differ_in_what_is_random_and_in_nothing_else(selected):
    first, second = (sets_of(selected[0], replicate) for replicate in (0, 1))
    same = {name for name in first if np.array_equal(first[name], second[name])}
    assert same == {f"{task}/knn_tapt_3_{selector}" for task in tiny.TASKS for selector in ("tfidf", "bm25")}


def test_a_tasks_own_sentence_is_a_candidate_and_never_selected_for_it(selected):
    root, _ = selected
    pieces = load_candidates(root / "selected/tiny/candidates/cs")
    (own,) = [k for some in pieces.chunks() for k, text in enumerate(some) if text.lower() == f"{OWN}."]
    assert not pieces.allowed("citation_intent")[own]
    counts = files.read_json(root / "selected/tiny/candidates/cs" / CANDIDATES_FILE)
    assert counts["own_citation_intent"] >= 1 and counts["candidates"] == len(pieces)
    for found in (sets_of(root, 0), sets_of(root, 1)):
        assert not any(own in some for name, some in found.items() if name.startswith("citation_intent"))


def test_what_rankings_say_of_themselves_is_kept_by_task(selected):
    about = files.read_json(selected[0] / "selected/tiny/replicate_1/hyperpartisan_news/rankings.json")
    assert list(about) == ["vampire", "tfidf", "bm25", "dsir"]
    assert about["vampire"]["topics"] and about["tfidf"]["shown"] and not about["dsir"]["shown"]
    assert all(ranking["wall_seconds"] > 0 for ranking in about.values())


def test_a_replicate_selected_again_comes_out_the_same(selected, tmp_path):
    root = tiny.copy(selected[0], tmp_path / "study")
    for folder in ("work", "selected"):
        (root / folder).rename(root / f"{folder}_before")
    select(root, 1)
    before, after = sets_of(selected[0], 1), sets_of(root, 1)
    assert before.keys() == after.keys() and all(np.array_equal(before[name], after[name]) for name in before)


def test_candidates_gone_or_of_other_settings_are_written_anew(selected, tmp_path):
    root = tiny.copy(selected[0], tmp_path / "study")
    path = root / "selected/tiny/candidates/cs" / CANDIDATES_FILE
    files.write_json(path, files.read_json(path) | {"key": "another"})
    wanted = selections(root, 0)
    assert not wanted.is_written()
    wanted.write(lambda line: None)
    assert wanted.is_written() and selections(root, 1).is_written()


LAST, COUNTS = "replicate_0/manifest.json", f"candidates/cs/{CANDIDATES_FILE}"
SPOILT = {
    "cut": (LAST, lambda content: content[:100]),
    "another key": (LAST, lambda content: content.replace(b'"stores"', b'"storez"')),
    "a list": (LAST, lambda content: b"[]"),
    "stores that are a number": (LAST, lambda content: b'{"stores": 5}'),
    "candidates that are a list": (COUNTS, lambda content: b"[]"),
    "candidates without a key": (COUNTS, lambda content: b"{}"),
}


@pytest.mark.parametrize(("name", "spoil"), SPOILT.values(), ids=SPOILT)
def test_a_damaged_selection_is_told_and_selected_again_by_the_same_command(selected, tmp_path, name, spoil, capsys):
    root = tiny.copy(selected[0], tmp_path / "study")
    with tiny.at(root):
        Study("tiny").select()
        path, whole = root / "selected/tiny" / name, files.folder_digest(root / "selected")
        path.write_bytes(spoil(path.read_bytes()))
        assert is_known(selections(root, 0)) is False  # as claims asks, which removes nothing
        assert path.is_file() and f"{path} is not as it was written" not in capsys.readouterr().out
        Study("tiny").select()
    assert f"{path} is not as it was written" in capsys.readouterr().out
    assert files.folder_digest(root / "selected") == whole


@pytest.mark.parametrize("content", ["{}", "[]", '{"stores": 5}', '{"tasks": '])
@pytest.mark.parametrize("name", ["manifest.json", "tokens/manifest.json"])
def test_damaged_manifests_of_text_are_told_before_they_are_read(prepared, tmp_path, name, content):
    root = tiny.copy(prepared, tmp_path / "study")
    (root / "data/tiny" / name).write_text(content)
    with pytest.raises(StudyError, match=rf"{name} is not as it was written[\s\S]*dontstop prepare --profile tiny"):
        selections(root, 0)


def test_what_decides_a_ranking_is_in_its_fingerprint(prepared):
    def fingerprint(selector, replicate=0, **changes):
        return selections(prepared, replicate, **changes).ranking_fingerprint("cs", selector)

    for selector in ("vampire", "tfidf", "bm25", "dsir"):
        assert fingerprint(selector) == fingerprint(selector, compared=[], max_curated_texts=5)
        assert (fingerprint(selector) == fingerprint(selector, 1)) == (selector != "vampire")
        assert (fingerprint(selector) == fingerprint(selector, seed=5)) == (selector in ("bm25", "dsir"))
        assert fingerprint(selector) != fingerprint(selector, min_words=4)


@pytest.mark.parametrize("library", ["numpy", "scikit-learn", "faiss-cpu"])
def test_a_selection_is_told_by_the_libraries_that_make_it(prepared, monkeypatch, library):
    before, version = selections(prepared, 0).fingerprint(), identity.importlib.metadata.version
    monkeypatch.setattr(identity.importlib.metadata, "version", lambda name: "0" if name == library else version(name))
    assert selections(prepared, 0).fingerprint() != before


def test_the_selector_by_encoder_waits_for_the_base_of_its_replicate(prepared):
    wanted = selections(prepared, 0, compared=["encoder"], seed=9)
    jobs = {job.name: job for job in wanted.jobs()}
    job = jobs["cs by encoder, replicate 0"]
    assert job.needs == {wanted.candidates_key("cs"), wanted.base_key}
    assert jobs["cs by vampire, replicate 0"].needs == {wanted.candidates_key("cs")}
    assert Checkpoint(replicate=3).lineage == (Checkpoint(replicate=3),)
