from .catalogue import METHODS, complete, count_passes
from .craft import craft
from .diverse import DIVERSE
from .ensemble import Ensemble, Objective, Task
from .generator import GENERATOR, Painter, load_painter
from .mef import MEF
from .method import Method
from .momentum import IFGSM, MOMENTUM
from .noise import NOISE
from .phases import PHASES
from .scale import SCALE
from .shuffle import SHUFFLE
from .smoothed import SMOOTHED
from .spectrum import SPECTRUM
from .variance import VARIANCE

__all__ = [
    "DIVERSE",
    "GENERATOR",
    "IFGSM",
    "MEF",
    "METHODS",
    "MOMENTUM",
    "NOISE",
    "PHASES",
    "SCALE",
    "SHUFFLE",
    "SMOOTHED",
    "SPECTRUM",
    "VARIANCE",
    "Ensemble",
    "Method",
    "Objective",
    "Painter",
    "Task",
    "complete",
    "count_passes",
    "craft",
    "load_painter",
]
