"""Meta-learning: fitting latents with frozen weights, and training the weights through that fit."""
