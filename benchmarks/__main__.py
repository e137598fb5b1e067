"""Command line: `python -m benchmarks [pretraining|finetuning|neighbours|streaming|leaks|preparing|gpu|all]`."""

import argparse
import os
import sys
import tempfile
from pathlib import Path

WHAT = ("pretraining", "finetuning", "neighbours", "streaming", "leaks", "preparing")


def main() -> int:
    """Measure what was asked for; return 0, or 1 where the two sides do not train the same model."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Our training loops beside the Trainer's")
    parser.add_argument("what", nargs="?", default="all", choices=(*WHAT, "gpu", "all"))
    parser.add_argument("--repeats", type=int, default=3, help="runs of every contender, in alternating order (3)")
    parser.add_argument("--steps", type=int, default=50, help="pretraining steps of 32 x 128 tokens in a run (50)")
    parser.add_argument("--gigabytes", type=float, default=1.0, help="of text that is prepared (1; 10 takes hours)")
    parser.add_argument("--profile", default="laptop", choices=("laptop", "minilm"), help="whose fine-tuning (laptop)")
    parser.add_argument("--quick", action="store_true", help="one small run of each, to see that all works; no files")
    options = parser.parse_args()
    if options.repeats < 1 or options.steps < 10:
        parser.error(f"found --repeats {options.repeats} --steps {options.steps}; expected at least 1 and 10")

    if options.what != "gpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""  # processors are compared, on both sides
    os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"  # here and in the processes that we start
    from benchmarks import finetuning, gpu, leaks, measuring, preparing, pretraining, selection
    from dontstop.errors import StudyError
    from dontstop.profiles import find_root

    measuring.say_machine()
    results = None if options.quick else find_root() / "results" / "benchmarks"
    num_repeats, num_steps = (1, 12) if options.quick else (options.repeats, options.steps)
    try:
        with tempfile.TemporaryDirectory() as scratch:
            if options.what == "gpu":
                gpu.benchmark(Path(scratch), results, num_repeats=num_repeats, num_steps=num_steps)
            if options.what in ("pretraining", "all"):
                pretraining.benchmark(Path(scratch), results, num_repeats=num_repeats, num_steps=num_steps)
            if options.what in ("finetuning", "all"):
                how = {"quick": options.quick, "name": options.profile}
                finetuning.benchmark(Path(scratch), results, num_repeats=num_repeats, **how)
            if options.what in ("neighbours", "all"):
                selection.benchmark(Path(scratch), results, num_repeats=num_repeats, quick=options.quick)
            if options.what in ("streaming", "all"):
                selection.stream(Path(scratch), results, quick=options.quick)
            if options.what in ("leaks", "all"):
                leaks.benchmark(results, num_repeats=num_repeats, megabytes=4 if options.quick else 30)
            if options.what in ("preparing", "all"):
                gigabytes = 0.05 if options.quick else options.gigabytes
                preparing.benchmark(Path(scratch), results, gigabytes=gigabytes)
    except StudyError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
