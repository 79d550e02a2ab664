from .estimate import Estimate, estimate
from .generator import GeneratorLearner, GeneratorTraining, eps_range
from .learner import Learner, Lesson
from .loader import Loader
from .loop import train
from .methods import METHODS, learner_for
from .network import Training
from .settings import Settings
from .start import DataSource, estimate_network, train_apart, train_attacker, train_network

__all__ = [
    "METHODS",
    "DataSource",
    "Estimate",
    "GeneratorLearner",
    "GeneratorTraining",
    "Learner",
    "Lesson",
    "Loader",
    "Settings",
    "Training",
    "eps_range",
    "estimate",
    "estimate_network",
    "learner_for",
    "train",
    "train_apart",
    "train_attacker",
    "train_network",
]
