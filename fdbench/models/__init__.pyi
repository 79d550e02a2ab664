from .attention import attend
from .building import build
from .catalogue import DENOISERS, OFFERED, ZOO, denoise_choices
from .checkpoint import Card, fill, load_card, save_card, weights_hash
from .defences.preprocessed import Preprocessed
from .denoise import (
    BilateralDot,
    BilateralGauss,
    DenoiseBlock,
    Mean,
    Median,
    NonlocalDot,
    NonlocalGauss,
    Null,
)
from .fast import RELATIVE, Folded, accelerate
from .grafted import Place, block_parameters, places
from .load import Model, in_memory_model, open_model
from .outputs import logits_of
from .tensorpack import LICENCE, SOURCE, Pack, read_pack
from .zoo.foreign import Foreign
from .zoo.huggingface import from_hub
from .zoo.robustbench import from_robustbench
from .zoo.submission import Defense
from .zoo.timm import from_timm
from .zoo.torchvision import from_torchvision

__all__ = [
    "DENOISERS",
    "LICENCE",
    "OFFERED",
    "RELATIVE",
    "SOURCE",
    "ZOO",
    "BilateralDot",
    "BilateralGauss",
    "Card",
    "Defense",
    "DenoiseBlock",
    "Folded",
    "Foreign",
    "Mean",
    "Median",
    "Model",
    "NonlocalDot",
    "NonlocalGauss",
    "Null",
    "Pack",
    "Place",
    "Preprocessed",
    "accelerate",
    "attend",
    "block_parameters",
    "build",
    "denoise_choices",
    "fill",
    "from_hub",
    "from_robustbench",
    "from_timm",
    "from_torchvision",
    "in_memory_model",
    "load_card",
    "logits_of",
    "open_model",
    "places",
    "read_pack",
    "save_card",
    "weights_hash",
]
