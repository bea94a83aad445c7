"""Tokens, by the form that their issuers give them."""

from __future__ import annotations

from prodfix.patterns import compiled_later
from prodfix.redaction.rules import MASK, Rule

# Each begins with letters of its own: what does not begin so is looked at once, for all of them together.
_FORMS = (
    r"A(?:KI|SI|BI|CC)A[0-9A-Z]{16}\b",  # AWS
    r"gh[pousr]_[A-Za-z0-9]{20,255}+|github_pat_\w{20,255}+",
    r"gl(?:pat|dt|rt|cbt|ptt|ft|imt|agent|soat|ffct)-[\w.-]{16,255}+",  # GitLab
    r"(?:xox[a-z]|xapp|xwfp)[-.][\w.-]{10,255}+",  # Slack
    r"[srp]k_(?:live|test)_\w{10,255}+|whsec_[\w+/=]{16,255}+",  # Stripe
    r"sq0[a-z]{3}-[\w-]{20,64}+|access_token\$\w{4,20}\$[\w$]{10,128}+",  # Square, Braintree
    r"AIza[\w-]{30,60}+|GOCSPX-[\w-]{20,64}+|ya29\.[\w.-]{20,512}+|1//0[\w-]{20,255}+",  # Google
    r"SG\.[\w-]{16,64}+\.[\w-]{16,64}+|(?:pub)?key-[0-9a-f]{32}\b|x(?:key|smtp)sib-[\w-]{20,128}+",  # SendGrid, Mailgun, Brevo
    r"(?:AC|SK)[0-9a-f]{32}\b",  # Twilio
    r"(?:sk|xai|pplx)-[\w-]{20,255}+|(?:gsk|hf|r8)_[\w-]{20,255}+",  # language models
    r"npm_[A-Za-z0-9]{30,64}+|pypi-[\w-]{16,512}+|rubygems_[0-9a-f]{30,64}+|oy2[a-z0-9]{43}\b|dckr_[a-z]{3}_[\w-]{20,64}+",
    r"hv[sbr]\.[\w-]{20,255}+|sntry[su]_[\w+/=-]{20,512}+|dt0c01\.[\w.-]{20,255}+",  # Vault, Sentry, Dynatrace
    r"shp(?:at|ca|pa|ss|tka)_[0-9a-fA-F]{20,64}+",  # Shopify
    r"A(?:TATT3|TCTT3|TBB)[\w=-]{20,255}+",  # Atlassian
    r"lin_(?:api|oauth)_\w{20,128}+|ntn_\w{20,128}+|figd_[\w-]{20,128}+|PMAK-[\w-]{20,128}+",  # Linear, Notion, Figma, Postman
    r"NR(?:AK|JS|II|AA)-[\w-]{16,64}+|gl(?:sa|c)_[\w+/=-]{20,255}+",  # New Relic, Grafana
    r"do[opr]_v1_\w{20,128}+|HRKU-[\w-]{20,128}+|fm[12]r?_[\w+/=-]{20,2048}+|nfp_\w{20,64}+|dp\.(?:pt|st|ct)\.\w{20,128}+",
    r"pscale_\w{2,8}_[\w.-]{20,128}+|sb[p_](?:secret_)?\w{20,64}+|dapi[0-9a-f]{32}|CFPAT-[\w-]{20,64}+",
    r"gAAAAA[\w-]{60,2048}+={0,2}|v[1-4]\.(?:local|public)\.[\w-]{20,2048}+(?:\.[\w-]{1,512}+)?",  # Fernet, PASETO
    r"AGE-SECRET-KEY-1[0-9A-Z]{20,128}+|EAA[A-Za-z0-9]{60,255}+",  # age, Meta
    r"[MNO][\w-]{22,27}\.[\w-]{6}\.[\w-]{27,40}+",  # Discord
)
TOKENS = (
    Rule((), compiled_later(rf"(?<![A-Za-z0-9])(?:{'|'.join(_FORMS)})"), MASK),
    Rule((":apa91b",), compiled_later(r"[\w-]{8,64}+:APA91b[\w-]{60,255}+"), MASK),  # Firebase
    Rule(("-us",), compiled_later(r"(?<![A-Za-z\d])[0-9a-f]{32}-us\d{1,2}\b"), MASK),  # Mailchimp
    Rule((".atlasv1.",), compiled_later(r"(?<![A-Za-z\d])[A-Za-z0-9]{14}\.atlasv1\.[\w-]{20,128}+"), MASK),  # Terraform
    Rule(("q~",), compiled_later(r"[\w.~-]{4}Q~[\w.~-]{30,40}+"), MASK),  # Azure
)
SHORTEST = 15  # characters of a token and what it stands in: a word between white space
