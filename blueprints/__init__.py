"""The plug-ins of the served application. To add one: a module that exposes ``blueprint``, and its name here."""

from blueprints import diagnostics, health, notes, operations

BLUEPRINTS = (health, diagnostics, operations, notes)
