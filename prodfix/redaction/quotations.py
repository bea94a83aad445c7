"""Messages of the driver, of MongoDB and of Python that quote a value or name a host."""

from __future__ import annotations

import re

from prodfix.patterns import compiled_later
from prodfix.redaction.names import mask_key
from prodfix.redaction.rules import MASK, STRING, Rule, bracketed


def _duplicate(match: re.Match[str]) -> str:
    fields = re.findall(r"[{,]\s?([\w.$-]{1,100}+):", _QUOTED.sub("?", match[0]))
    return "dup key: { " + ", ".join(f"{mask_key(field)}: ?" for field in fields[:20]) + " }"


_QUOTED = compiled_later(r'(?s)"(?:[^"\\]|\\.)*+(?:"|\Z)')
# An apostrophe within a word begins no quotation, and ends none.
_QUOTE = r"(?<!\w)(?:\"(?:[^\"\\]|\\.)*+\"?|'(?:[^'\\]|\\.|(?<=\w)(?='\w)')*+'?)"
_VALUES = compiled_later(
    rf"(?s)(?<!dup key: )\{{(?!\?\}})(?:[^\[\](){{}}\"']++|{STRING}|{bracketed(4)})*+\}}?|{_QUOTE}"
)


def emptied(text: str) -> str:
    """A text without anything in quotes or braces, and without numbers: what a library says of a value that it refuses."""
    return re.sub(r"\d[\d.]*+", "?", _VALUES.sub(lambda value: "{?}" if value[0].startswith("{") else "?", text))


_BARE = compiled_later(r"(?<![\w.?])-?\d[\d.e+-]{0,40}(?= is )")


def _without_values(match: re.Match[str]) -> str:
    return match[1] + _VALUES.sub(lambda value: "{?}" if value[0].startswith("{") else "?", match[2])


# MongoDB's own words (errmsg) before a value that it quotes: codes 2, 9, 14, 28, 40, 66, 73, 121, 241, 16755, 31034 and more.
_REFUSALS = (
    r"cannot create field|cannot apply \$|extract geo keys|modifiers operate on|failed to parse|error parsing|unsupported"
    r" conversion|in \$convert|non-numeric type|executor error during|unknown (?:top level )?operator|performing an update on"
    r"|cannot (?:increment|multiply|encode|use the part)|document failed validation|geo element must|must be an array but"
    r"|but found|(?:can only|can't) be applied|caused by ::|could not find user|invalid regular|regular expression is invalid"
)
_HINTS_OF_REFUSALS = (
    "cannot create field", "cannot apply $", "extract geo keys", "modifiers operate on", "failed to parse", "error parsing",
    "unsupported conversion", "in $convert", "non-numeric type", "executor error during", "operator", "performing an update on",
    "cannot increment", "cannot multiply", "cannot encode", "cannot use the part", "document failed validation",
    "geo element must", "must be an array but", "but found", "be applied", "caused by ::", "could not find user",
    "invalid regular", "expression is invalid",
)  # fmt: skip
_SHORT_STRING = r"(?:'(?:[^'\\\r\n]|\\.){0,300}'|\"(?:[^\"\\\r\n]|\\.){0,300}\")"

QUOTATIONS = (  # of texts with a quote, a brace or an equals sign
    Rule(("dup key",), compiled_later(r'(?s)dup key: \{(?:"(?:[^"\\]|\\.)*+(?:"|\Z)|[^"\r\n])*+'), _duplicate),
    # The driver puts the whole reply behind MongoDB's words.
    Rule(
        ("full error",),
        compiled_later(r"(?s)\A()(.*?)\bfull error: \{.*"),
        lambda match: _without_values(match) + "full error: " + MASK,
    ),
    # jsonschema's: the value, the rule and where it stands, and then the schema and the value once more.
    Rule(
        ("failed validating",),
        compiled_later(r"(?s)\A()(.*?\bFailed validating [^\r\n]{0,300}).*"),
        lambda match: _BARE.sub("?", _without_values(match)),
    ),
    Rule(
        ("input_value=",), compiled_later(r"(\binput_value=)(?:[^\r\n]*(?=, input_type=)|[^\r\n]++)"), r"\1?"
    ),  # pydantic's
    # Cut where the first value may stand: who knows how what follows is quoted once more.
    Rule(
        _HINTS_OF_REFUSALS,
        compiled_later(rf"(?is)((?:{_REFUSALS})(?:[^'\"{{\[(:]++|::)*)(['\"{{\[(:].*)?"),
        lambda match: match[1].rstrip() + " ?" if match[2] else match[1],
    ),
    Rule(
        ("invalid literal for", "could not convert", "invalid isoformat", "unconverted data", "time data"),
        compiled_later(
            r"(?s)(\binvalid literal for \w{1,20}\(\) with base \d{1,3}: |\bcould not convert string to \w{1,20}: "
            rf"|\bInvalid isoformat string: |\bunconverted data remains: |\btime data )(?:b(?=['\"]))?(?:{STRING}|[^\r\n]*+)"
        ),
        r"\1?",
    ),
    Rule(
        (" is not a valid ", " is not in list", "is not one of ", " is not of type ", " does not match "),
        compiled_later(rf"{_SHORT_STRING}( is not (?:a valid |in list|one of |of type )| does not match )"),
        r"?\1",
    ),
)
HOSTS = (  # of texts with :270 or .mongodb
    Rule(
        (),  # the driver's texts name hosts: MongoDB's ports, and the names that Atlas gives
        compiled_later(
            r"(?i)(?<![\w.-])[\w.-]++(?:(?:(?<=\.mongodb\.net)|(?<=\.mongodbgov\.net))(?::\d{1,5})?|(?<=\.mongodb\.net\.)"
            r"|:270\d\d)(?!\d)"
        ),
        MASK,
    ),
)
SERVERS = (
    Rule(
        ("]:",),
        compiled_later(
            r"\[(?!\d\d:\d\d:\d\d[\].])(?:[0-9A-Fa-f]{0,4}:){2,7}[0-9A-Fa-f.]{0,15}(?:%[\w.-]{1,15})?\]:\d{1,5}(?!\d)"
        ),
        MASK,
    ),
    Rule(
        ("serverdescription",),
        compiled_later(r"<ServerDescription \('?[^,)]{0,300}', \d{1,5}\)"),
        "<ServerDescription (" + MASK + ")",
    ),
)
