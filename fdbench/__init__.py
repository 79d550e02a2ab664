"""How robust is this image classifier, and did the denoising block help?"""
