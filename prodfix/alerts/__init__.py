"""Alerts: what is wrong with the service, told once to those who can mend it, and told again when it is over."""
