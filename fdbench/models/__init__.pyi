from .attention import attend
from .checkpoint import Card, fill, load_card, save_card, weights_hash
from .defences.preprocessed import Preprocessed
from .fast import RELATIVE, Folded, accelerate
from .load import Model, checkpoints, open_model
from .resnet import build
from .tensorpack import LICENCE, SOURCE, read_pack
from .zoo.submission import Defense

__all__ = [
    "LICENCE",
    "RELATIVE",
    "SOURCE",
    "Card",
    "Defense",
    "Folded",
    "Model",
    "Preprocessed",
    "accelerate",
    "attend",
    "build",
    "checkpoints",
    "fill",
    "load_card",
    "open_model",
    "read_pack",
    "save_card",
    "weights_hash",
]
