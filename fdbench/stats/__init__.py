"""Intervals of accuracies, comparisons of networks, and how many images it takes. Free of torch."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
