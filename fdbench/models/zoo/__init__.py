"""Third-party networks: torchvision, timm, submissions."""
