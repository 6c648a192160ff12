"""Runs: configuration, run directory, and everything from data to report."""
