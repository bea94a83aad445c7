"""What each error means: one table of rows, and the rules by which an error finds its row.

It may import the errors, their causes and the redaction, and the classes of the libraries whose errors it knows; a
library that an application may not have is known by name. It knows no request, no application and no journal, so that
it works in a background loop and in a test. Everybody above may ask it. It tells codes, fields and places, never a
value.
"""
