"""One's own files: gathered under any columns, divided by class and content, and looked at before any training."""

import collections
from dataclasses import replace

import pytest
import yaml

import tiny
from dontstop.errors import StudyError
from dontstop.machine import digests, files, locks
from dontstop.profiles import Paths, load_profile
from dontstop.runs import preparation
from dontstop.text import inspection, own_files
from dontstop.upkeep import doctor

TASK = {"tickets": {"domain": "support", "metric": "macro_f1"}}
ROWS = [{"text": f"text {k} of a kind", "label": "rare" if k < 5 else "common"} for k in range(100)]


def test_a_file_is_divided_by_class_and_each_text_has_one_place():
    found = own_files.divide(ROWS, ("test", "dev"), seed=0)
    assert {split: len(rows) for split, rows in found.items()} == {"train": 69, "test": 20, "dev": 11}
    rare = {split: sum(row["label"] == "rare" for row in rows) for split, rows in found.items()}
    assert rare == {"train": 3, "test": 1, "dev": 1}
    assert sorted(row["text"] for rows in found.values() for row in rows) == sorted(row["text"] for row in ROWS)


def test_a_texts_place_does_not_depend_on_the_order_of_the_file():
    found, turned = (own_files.divide(rows, ("test", "dev"), seed=0) for rows in (ROWS, ROWS[::-1]))
    assert [{row["text"] for row in found[s]} == {row["text"] for row in turned[s]} for s in found] == [True] * 3
    assert found != own_files.divide(ROWS, ("test", "dev"), seed=1)


def test_texts_that_differ_by_marks_alone_are_kept_and_stay_together():
    marked = [{"text": f"{mark} binds to protein {k} {mark}", "label": mark} for k in range(40) for mark in "<["]
    found = own_files.divide(marked, ("test", "dev"), seed=0)
    numbers = {split: {row["text"].split()[4] for row in rows} for split, rows in found.items()}
    assert sum(map(len, found.values())) == 80 and sum(map(len, numbers.values())) == 40
    assert [len(found[split]) for split in ("test", "dev")] == [16, 8]


def test_a_class_of_two_texts_is_all_in_train():
    rows = [*ROWS, {"text": "alone", "label": "lone"}, {"text": "the other", "label": "lone"}]
    found = own_files.divide(rows, ("test",), seed=0)
    assert sum(row["label"] == "lone" for row in found["train"]) == 2 and set(found) == {"train", "test"}


@pytest.mark.parametrize("place", range(100))
def test_no_class_leaves_train_with_a_text_that_stands_together_with_one_of_another_class(place):
    rows = [*ROWS, {"text": ROWS[place]["text"].upper(), "label": "lone"}]  # which goes where the other goes
    for some in (rows, rows[::-1]):
        found = own_files.divide(some, ("test", "dev"), seed=0)
        assert [row["label"] for row in found["train"]].count("lone") == 1
        assert sum(map(len, found.values())) == 101 and found["test"] and found["dev"]


@pytest.fixture
def gathered(tmp_path):
    """Gather the tiny user's files; return the profile and what was said."""
    tiny.make_own(tmp_path)
    profile, said = load_profile("own", tmp_path), []
    own_files.gather(profile, tmp_path / "constraints.txt", said.append)
    return profile, said


def test_files_are_gathered_under_their_own_columns(gathered, tmp_path):
    profile, said = gathered
    mirror = tmp_path / "work" / "own" / "own"
    assert profile.text.folder == str(mirror)
    assert files.read_jsonl(mirror / "corpora" / "support.jsonl")[0] == {"text": tiny.texts("cs", "corpus", 60, 40)[0]}
    rows = [row for split in tiny.SPLITS for row in files.read_jsonl(mirror / "tasks" / "tickets" / f"{split}.jsonl")]
    assert collections.Counter(row["label"] for row in rows) == {"few": 40, "many": 40}
    assert said == ["tickets: train 56, dev 8, test 16 texts (test and dev taken from train, by class)"]


def test_they_are_gathered_again_only_once_they_change(gathered, tmp_path):
    profile, _ = gathered
    assert own_files.is_gathered(profile)
    with open(tmp_path / "mine" / "tickets.csv", "a") as handle:
        handle.write("zu zu zu zu,many\nzu zu zu zu,many\n")
    assert not own_files.is_gathered(profile)
    said = []
    own_files.gather(profile, tmp_path / "constraints.txt", said.append)
    assert own_files.is_gathered(profile) and said[0].startswith("tickets: 1 repeated rows of")


SPOILT = {
    "one letter": ("corpora/support.jsonl", lambda content: content.replace(b'text": "', b'text": "x', 1)),
    "cut at a line's end": ("tasks/tickets/train.jsonl", lambda content: b"".join(content.splitlines(True)[:20])),
    "another's digests": ("digests.json", lambda content: b"{}"),
    "a note that is none": ("own.json", lambda content: b'"abc'),
    "a file beside": ("corpora/general/more.jsonl", lambda content: b'{"text": "x"}'),
    "no digests": ("digests.json", None),
    "a text gone": ("corpora/general.jsonl", None),
}


@pytest.mark.parametrize(("name", "spoil"), SPOILT.values(), ids=SPOILT)
def test_a_damaged_mirror_of_them_is_told_and_gathered_again(gathered, tmp_path, name, spoil):
    profile, paths = gathered[0], Paths("own", tmp_path)
    mirror, path = tmp_path / "work" / "own" / "own", tmp_path / "work" / "own" / "own" / name
    whole = files.folder_digest(mirror)
    if spoil is None:
        path.unlink()
    else:
        files.write_bytes(path, spoil(path.read_bytes() if path.is_file() else b""))
    assert not own_files.is_gathered(profile)
    told = name != "digests.json" or spoil is not None  # without digests nothing is known to be damaged
    assert told == any(list(digests.faults(*kept[:2])) for kept in doctor._kept(profile, paths))
    preparation._gather_own_files(profile, paths)
    assert own_files.is_gathered(profile) and files.folder_digest(mirror) == whole


def test_they_are_gathered_by_one_command_at_a_time(gathered, tmp_path, monkeypatch):
    paths, held = Paths("own", tmp_path), []

    def look(*given):
        with locks.locked(paths.lock, wait=False) as is_free:
            held.append(not is_free)
        raise StudyError("enough", "seen", "stop")

    (tmp_path / "mine" / "tickets.csv").write_text("words,kind\nzu,many\n")
    monkeypatch.setattr(own_files, "gather", look)
    with pytest.raises(StudyError, match="enough"):
        preparation.prepare(gathered[0], paths, [])
    assert held == [True]


def test_a_file_that_is_missing_or_not_named_is_told(gathered, tmp_path):
    profile, _ = gathered
    (tmp_path / "mine" / "tickets.csv").unlink()
    with pytest.raises(StudyError, match="no file .*tickets.csv"):
        own_files.is_gathered(profile)
    tiny.make_own(tmp_path, text={"study": {"domains": {"support": {"files": "mine/cs"}}, "tasks": TASK}})
    with pytest.raises(StudyError, match="no file of tickets in the study"):
        own_files.is_gathered(load_profile("own", tmp_path))


def test_links_out_of_a_folder_of_text_are_followed_only_if_asked_for(gathered, tmp_path):
    study, folder = gathered[0].text.study, tmp_path / "many"
    folder.mkdir()
    (tmp_path / "outside.jsonl").write_text('{"body": "fo gu"}\n')
    (folder / "a.jsonl").symlink_to(tmp_path / "outside.jsonl")
    domain = replace(study.domains[0], files=str(folder))
    with pytest.raises(StudyError, match=r"which a link leads to .*outside.jsonl\n(.|\n)*follow_links: true"):
        own_files._corpus_files(domain, follow_links=False)
    assert own_files._corpus_files(domain, follow_links=True) == [folder / "a.jsonl"]


def test_scripts_are_told_apart():
    assert inspection.script_shares(["abc", "где", "12!"]) == {"LATIN": 0.5, "CYRILLIC": 0.5}
    assert next(iter(inspection.script_shares(["文章分类任务 ab"]))) == "CJK"
    assert inspection.corpus(["one two", "three"])["num_words"] == 3
    english, french = "The cat is on the table, and it sleeps.", "Le chat est sur la table, et il dort bien."
    assert inspection.function_words([english]) > 50 and inspection.function_words([french]) < 15
    assert inspection.function_words(["12 !"]) == 0


def test_splits_are_described():
    row = {"text": "One text.", "label": "a"}
    train, test = inspection.labelled({"train": [row, row, {"text": "other", "label": "b"}], "test": [row]})
    assert [train[f"{size}_class"] for size in ("smallest", "largest")] == [1, 2]
    assert (train["num_classes"], train["num_repeated"]) == (2, 1)
    assert (test["num_in_train"], train["num_in_train"], test["script"]) == (1, 0, "latin")


# Files that do not fit ---------------------------------------------------------------------------------------------


def entry(*path: str, **values):
    """Change an entry of the study; None takes a key out."""

    def change(root, study):
        place = study
        for name in path:
            place = place[name]
        place |= values
        for name in [name for name, value in values.items() if value is None]:
            del place[name]

    return change


def table(text: str, name: str = "tickets.csv", **values):
    """Write a file, and change the task's entry."""

    def change(root, study):
        (root / "mine" / name).write_text(text)
        study["tasks"]["tickets"] |= values

    return change


def whole(value):
    """Put something else in the study's place."""

    def change(root, study):
        study.clear()
        study["whole"] = value

    return change


def foreign(root, study):
    (root / "mine" / "cs" / "README.md").touch()


def emptied(root, study):
    (root / "mine" / "cs" / "part.jsonl").unlink()


DOMAIN, QUEUE = ("domains", "support"), ("tasks", "tickets")
NAMED = {"name": "a", "display_name": "A"}
# What is changed; what is found; what is expected; what to do.
WRONG = {
    "an unknown key of a domain": (entry(*DOMAIN, file="x"), "key domains.support.file", "files,", "mean 'files'"),
    "an unknown key of a task": (entry(*QUEUE, labeled="x"), "key tasks.tickets.labeled", "one of", "mean 'labelled'"),
    "an unknown key of the study": (entry(task={}), "unknown key task in", "one of domains", "did you mean 'tasks'"),
    "an unknown key of a source": (
        entry(*DOMAIN, source={"path": "json", "licence": "x", "homepage": "x", "files": "x"}),
        "unknown key domains.support.source.files",
        "one of path",
        "mean 'data_files'",
    ),
    "a task named as the mean over tasks": (
        lambda _, study: study["tasks"].update(mean=study["tasks"].pop("tickets")),
        "task 'mean', the name of the mean over tasks",
        "a name of its own",
        "rename it",
    ),
    "no metric": (entry(*QUEUE, metric=None), "no tasks.tickets.metric", "no default", "write it"),
    "another metric": (entry(*QUEUE, metric="f1"), "tasks.tickets.metric = 'f1'", "'macro_f1'", "mend that entry"),
    "a list of files": (entry(*DOMAIN, files=["a"]), "domains.support.files = ['a']", "valid string", "mend"),
    "a missing corpus": (entry(*DOMAIN, files="mine/sc"), "no file", "JSON Lines, CSV or Parquet", "mend the path"),
    "a missing file of labels": (entry(*QUEUE, labelled="mine/a.csv"), "no file", "CSV or Parquet", "mend the path"),
    "a missing dev": (entry(*QUEUE, dev="mine/dev.csv"), "mine/dev.csv", "CSV or Parquet", "mend the path"),
    "a folder of labels": (entry(*QUEUE, labelled="mine/cs"), "no file", "CSV or Parquet", "mend the path"),
    "no file of a domain": (entry(*DOMAIN, files=None), "no file of support", "`files` of each domain", "name it"),
    "a foreign file in a corpus": (foreign, "README.md among the shards", "the ending .jsonl", "move it away"),
    "an empty corpus": (emptied, "no file in", "one shard or more", "fill the folder"),
    "another text column": (
        entry(*DOMAIN, text_column="txt"),
        "no field 'txt' in",
        "'txt' among body, number",
        "rename the field",
    ),
    "another label column": (
        entry(*QUEUE, label_column="label"),
        "no field 'label' in",
        "among body, queue",
        "rename the field",
    ),
    "a name that is taken": (
        lambda root, study: study["domains"].update(general=study["domains"]["support"]),
        "domain 'general', the name of",
        "a name of its own",
        "rename it",
    ),
    "a name twice": (entry(domains=[NAMED, NAMED]), "domain 'a' twice", "a name of its own", "rename it"),
    "a path for a name": (
        entry(tasks={"../a": {"domain": "support", "metric": "macro_f1"}}),
        "'../a'",
        "a name",
        "name",
    ),
    "no domain": (entry(domains={}), "domains = ", "at least 1", "mend that entry"),
    "no task": (entry(tasks=None), "no tasks in", "no default", "write it"),
    "a task of no domain": (entry(*QUEUE, domain="suport"), "domain 'suport'", "one of support", "mean 'support'"),
    "an irrelevant domain that is itself": (
        entry(*DOMAIN, irrelevant_domain="support"),
        "irrelevant_domain of support, itself",
        "another domain, or none",
        "mend the entry",
    ),
    "another task that is itself": (
        entry(*QUEUE, other_task="tickets"),
        "other_task 'tickets' of tickets, itself",
        "another task of support",
        "mend the entry",
    ),
    "a single label": (
        table("body,queue\n" + "".join(f"ba ce di {k},few\n" for k in range(20))),
        "only the label 'few' in train of tickets",
        "two or more",
        "labels' column",
    ),
    "a label in test alone": (
        table("body,queue\nba ce di,few\nfo gu ka,none\n", "test.csv", test="mine/test.csv"),
        "label 'none' in test of tickets, unseen in train",
        "labels among few, many",
        "add examples of it to train",
    ),
    "too few texts to divide": (
        table("body,queue\nba ce di,few\nfo gu ka,many\n"),
        "nothing for test and dev in",
        "classes of 3 texts or more",
        "name files of their own",
    ),
    "a row without a label": (
        table("body,queue\nba ce di,few\nfo gu ka,\n"),
        "empty queue in",
        "a label",
        "fill the row or drop it",
    ),
    "a study of no kind": (whole(3), "text.study = 3", "", "change the value"),
    "a study that is not there": (whole("papr"), "study 'papr'", "one of docstrings, paper", "papr.yaml"),
}


@pytest.mark.parametrize(("change", "found", "expected", "remedy"), WRONG.values(), ids=WRONG)
def test_files_that_do_not_fit_are_told_at_once(tmp_path, capsys, monkeypatch, change, found, expected, remedy):
    tiny.make_own(tmp_path)
    path = tmp_path / "configs" / "own.yaml"
    settings = yaml.safe_load(path.read_text())
    change(tmp_path, settings["text"]["study"])
    settings["text"]["study"] = settings["text"]["study"].get("whole", settings["text"]["study"])
    path.write_text(yaml.safe_dump(settings))
    monkeypatch.setattr("dontstop.text.corpora.prepare", lambda *_: pytest.fail("text was prepared"))
    with tiny.at(tmp_path):
        assert tiny.command("advise", str(path)) == 2
    said = capsys.readouterr().err
    lines = said.strip().splitlines()
    assert [line.split(":")[0] for line in lines] == ["found", "expected", "do this"], said
    for part, line in zip((found, expected, remedy), lines, strict=True):
        assert part in line, said
    assert not (tmp_path / "work" / "own" / "own").exists()
