"""Foolbox's attacks in our loop (Rauber et al. 2017, 2020): the catalogue, and running one."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
