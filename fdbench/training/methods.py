"""The training methods: a new one is a file with its learner and a line in this table."""

from fdbench.training.adversarial import AdversarialLearner
from fdbench.training.clean import CleanLearner
from fdbench.training.network import NetworkLearner, Training

METHODS: dict[str, type[NetworkLearner]] = {
    "adversarial": AdversarialLearner,
    "clean": CleanLearner,
}


def learner_for(training: Training) -> NetworkLearner:
    """Returns the learner of the method that the spec selects."""
    method = "clean" if training.spec.clean else "adversarial"
    return METHODS[method](training)
