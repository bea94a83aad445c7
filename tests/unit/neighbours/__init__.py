"""Beside what others bring: hosts of three styles, and the real packages of their extensions, where they are installed."""
