"""The version of this package: here too, since a checkout that is not installed has no other place to ask."""

VERSION = "0.1.0"
