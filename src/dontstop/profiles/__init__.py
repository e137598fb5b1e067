"""The settings: their schema, with the paper's values as defaults, profiles as overrides, and paths from the root."""

from dontstop.profiles.groups import Count, Settings
from dontstop.profiles.paths import Paths, find_root
from dontstop.profiles.profile import MOST_REPLICATES, Profile
from dontstop.profiles.reading import load_profile, parse_profile, profile_names, with_replicates, with_whole_paths
from dontstop.profiles.selection import Selection, Selector, Vampire
from dontstop.profiles.speed import MOST_MINUTES, Advice, Cluster, Speed
from dontstop.profiles.text import Text, Tokens
from dontstop.profiles.training import CheapAdaptation, Encoder, Finetune, Forgetting, Labels, PhaseSettings
