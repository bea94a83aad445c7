"""What knows HTTP: hooks, handlers, tokens, bodies."""
