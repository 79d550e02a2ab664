"""How robust is this image classifier, and did the denoising block help?

The functions here are what the command line is a thin layer over. None is imported before it is
used, so that `import fdbench` and `fdbench --help` do not load torch.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
