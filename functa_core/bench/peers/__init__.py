"""Others' ways to do the same, written here from the mathematics: what we are compared with."""
