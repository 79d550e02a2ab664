from .adversarial import Training
from .generator import GeneratorTraining, Surrogate, train_generator
from .loop import train

__all__ = [
    "GeneratorTraining",
    "Surrogate",
    "Training",
    "train",
    "train_generator",
]
