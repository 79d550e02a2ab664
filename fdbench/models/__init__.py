"""The networks under attack: ResNets, denoising blocks, other people's networks, weights."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
