"""Submissions in the competition's layout: folders with an attack or a defence in any language.

Source: NIPS 2017's development kit and the evaluation's own code (cleverhans 3.1.0,
examples/nips17_adversarial_competition), a layout that CAAD 2018 kept. Three deviations. A
submission runs on this machine, not in its container. Outputs that are not PNG are refused, where
the kit took .jpg: JPEG changes pixels by itself. Outputs of another size are refused, where the
evaluation resized them: a resized image is not what the attacker made. Refused or missing outputs
count as unattacked: the clean image is used instead.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
