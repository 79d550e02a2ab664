from .generator import GeneratorLearner, GeneratorTraining, eps_range
from .learner import Learner, Lesson, Loader
from .loop import train
from .methods import METHODS, learner_for
from .network import Training
from .settings import Settings
from .start import DataSource, train_apart, train_attacker, train_network

__all__ = [
    "METHODS",
    "DataSource",
    "GeneratorLearner",
    "GeneratorTraining",
    "Learner",
    "Lesson",
    "Loader",
    "Settings",
    "Training",
    "eps_range",
    "learner_for",
    "train",
    "train_apart",
    "train_attacker",
    "train_network",
]
