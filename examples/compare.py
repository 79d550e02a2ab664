"""Does the denoising block help? From two networks to a table and a figure.

In a notebook, each block is a cell. Networks: `python examples/compare.py MODEL MODEL ...`.
"""

import sys

import matplotlib.pyplot as plt

import fdbench

images = fdbench.open_data("fashion-mini")
models = sys.argv[1:] or ["r20", "r20-nonlocal-gauss"]  # as `make demo` trains them
for model in models:
    fdbench.evaluate(model, images, "pgd", eps="8/255", iters=(1, 2, 5, 10, 20), limit=300)
report = fdbench.report()
print(report.tables["whitebox"][["model", "iters", "robust", "robust_low", "robust_high"]])

batch = images.fetch(range(6))
figure, axes = plt.subplots(len(models), 6, squeeze=False, figsize=(9, 1.8 * len(models)))
for row, model in zip(axes, models, strict=True):
    net = fdbench.load_model(model)
    adv = fdbench.pgd(net, batch.x, batch.label, eps=8 / 255, iters=20)
    row[0].set_ylabel(model, fontsize=8)
    for axis, image, pred, label in zip(row, adv, net(adv).argmax(1), batch.label, strict=True):
        axis.imshow(image.permute(1, 2, 0))
        axis.set_title(images.class_names[pred], fontsize=8, color="k" if pred == label else "r")
        axis.set(xticks=[], yticks=[])
figure.savefig("compare.png")
