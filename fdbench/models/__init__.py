"""The networks under attack: ResNets, their denoising blocks, and where weights come from."""
