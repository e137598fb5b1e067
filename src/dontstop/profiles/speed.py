"""Settings of speed and of budgets: what changes how fast results come, or how many, and never a result."""

from typing import Annotated, Any, Literal

from pydantic import Field

from dontstop.profiles.groups import Count, Positive, Settings


class Cluster(Settings):
    """A cluster to carry jobs out on, through submitit, in place of this machine's own processes."""

    kind: Literal["slurm", "local"] = "slurm"  # local: submitit's own executor, to try a study out
    parallel: Count = 64  # jobs at a time
    cpus: Count = 2  # of a job; a checkpoint is trained by as many processes, a run by one
    gpus: Annotated[int, Field(ge=0)] | None = None
    memory_gb: Count = 8
    minutes: Annotated[int, Field(ge=15)] = 240  # then queued again; of less, submitit takes any interruption for that
    requeues: Count = 10  # of a job that ran into its time limit
    partition: str | None = None
    setup: list[str] = []  # shell lines before each job, to activate an environment, say
    more: dict[str, Any] = {}  # any other of sbatch's options, such as account or qos


class Speed(Settings):
    """What changes how fast a result comes, never the result; no part of any fingerprint."""

    num_workers: Count | None = None  # None: one a core; on a GPU, one pretraining or four runs at once
    cluster: Cluster | None = None
    progress_seconds: Positive = 5.0
    steps_between_saves: Count = 100


MOST_MINUTES = 1_000_000.0  # two years


class Advice(Settings):
    """What `dontstop advise` may spend."""

    minutes: Annotated[Positive, Field(le=MOST_MINUTES)] = 60.0  # of this machine's time, for all arms and replicates
