"""The training methods: a new one is a file with its learner and a line in this table."""

from fdbench.training.adversarial import AdversarialLearner
from fdbench.training.clean import CleanLearner
from fdbench.training.free import FreeLearner
from fdbench.training.network import NetworkLearner, Training
from fdbench.training.noisy import NoisyLearner
from fdbench.training.trades import TradesLearner

METHODS: dict[str, type[NetworkLearner]] = {
    "clean": CleanLearner,
    "free": FreeLearner,
    "n-fgsm": NoisyLearner,
    "pgd": AdversarialLearner,
    "trades": TradesLearner,
}


def learner_for(training: Training) -> NetworkLearner:
    """Returns the learner of the method that the spec selects."""
    return METHODS["clean" if training.spec.clean else training.spec.method](training)
