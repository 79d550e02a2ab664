from .excess import exceeds, visible
from .holm import corrected
from .intervals import LEVEL, Interval, wilson
from .paired import Paired, mcnemar, paired, paired_all, paired_interval
from .planning import detectable, images_needed, seeds_needed
from .seeds import Gap, Spread, gap, spread
from .sequential import ALPHA, Evidence, decision, evidence, gathered

__all__ = [
    "ALPHA",
    "LEVEL",
    "Evidence",
    "Gap",
    "Interval",
    "Paired",
    "Spread",
    "corrected",
    "decision",
    "detectable",
    "evidence",
    "exceeds",
    "gap",
    "gathered",
    "images_needed",
    "mcnemar",
    "paired",
    "paired_all",
    "paired_interval",
    "seeds_needed",
    "spread",
    "visible",
    "wilson",
]
