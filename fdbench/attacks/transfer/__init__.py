"""Black-box methods: functions of an ensemble of surrogate networks, never of the victim."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
