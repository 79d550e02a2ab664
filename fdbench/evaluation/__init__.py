"""Evaluation of networks: the attack loop, the doctor, the audit, classification."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
