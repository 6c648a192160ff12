"""Models of latents: what is learned about a table of numbers (n, Z)."""
