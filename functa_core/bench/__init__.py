"""Measuring: how fast the method's operations are here, beside others' ways to do the same."""
