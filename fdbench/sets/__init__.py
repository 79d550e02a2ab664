"""Sets of adversarial images: made once, kept, judged by any number of victims.

    results/sets/<name>/set.json              SetInfo: what the images are, and how they came about
    results/sets/<name>/index-<rank>.jsonl    one JSON line an attacker and batch: Line
    results/sets/<name>/adv/                  the images in whole pixels, in shards (adversaries.py)

A line is written after the shard it names, and a shard is named by its bytes: `kill -9` costs the
batch under way, and an image that was touched is never judged.
"""

from fdbench.sets.folder import SetFolder
from fdbench.sets.info import CLEAN, Line, SetInfo, Surrogate, read_set_info
from fdbench.sets.stored import AdvSet

__all__ = ["CLEAN", "AdvSet", "Line", "SetFolder", "SetInfo", "Surrogate", "read_set_info"]
