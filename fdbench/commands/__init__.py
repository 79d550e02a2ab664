"""The commands: each turns flags into one call of fdbench.api, and prints the result."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
