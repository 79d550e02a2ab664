from .generator import GeneratorLearner, GeneratorTraining
from .learner import Learner, Lesson, Loader
from .loop import train
from .methods import METHODS, learner_for
from .network import Training

__all__ = [
    "METHODS",
    "GeneratorLearner",
    "GeneratorTraining",
    "Learner",
    "Lesson",
    "Loader",
    "Training",
    "learner_for",
    "train",
]
