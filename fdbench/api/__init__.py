"""The Python API: what the command line does, as typed functions (contract C9)."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
