"""Where lines go: the console and the files by category."""
