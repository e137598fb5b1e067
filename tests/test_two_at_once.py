"""Commands of one checkout at once: profiles that share results, replicates, and the same command twice."""

import shutil
import time

import kills
import reliability
import tiny

COMMANDS = [
    ("run", "domain_gap", "-p", "tiny"),
    ("run", "domain_gap", "-p", "other"),  # has the same base encoder
    ("run", "domain_gap", "-p", "tiny", "--replicates", "2"),
    ("run", "tapt", "-p", "tiny"),
]


def two_profiles(root):
    """Write a tiny study with a second profile, which differs in its seeds alone."""
    tiny.make(root, seeds=[0])
    (root / "configs" / "other.yaml").write_text((root / "configs" / "tiny.yaml").read_text() + "\n")
    return root


def test_commands_at_once_give_what_they_give_one_after_another(tmp_path):
    some = COMMANDS if reliability.SHARE else COMMANDS[:2]
    kills.warm()
    after = two_profiles(tmp_path / "after")
    for command in some:
        kills.finish(after, *command)
    more = ", two commands of one, replicates" if len(some) > 2 else ""
    about = f"{len(some)} commands at once: two profiles that share a base encoder{more}"
    for rng in reliability.Series(about, "test_two_at_once", 1, 100, "times").tries():
        root, processes = two_profiles(tmp_path / "at_once"), []
        for command in rng.sample(some, len(some)):
            processes.append(kills.start(root, *command))
            time.sleep(rng.choice([0, 0, 0.1, 0.5]))
        codes, said = [kills.end(process) for process in processes], (root / "log").read_text()
        assert codes == [0] * len(some) and "Traceback" not in said, said[-3000:]
        assert tiny.outcomes(root) == tiny.outcomes(after) and kills.left_over(root) == []
        # One training of each checkpoint, whichever command did it.
        assert len(kills.finished(root)) == len(kills.finished(after))
        assert len(some) == 2 or "works on this study; this command waits for it" in said
        shutil.rmtree(root)
