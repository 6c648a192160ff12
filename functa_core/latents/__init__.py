"""Models of a table of latents (n, Z): numbers in, numbers out, nothing of runs or of data."""
