"""Addresses that are credentials: whoever knows one may use what it names."""

from __future__ import annotations

import re

from prodfix.patterns import compiled_later
from prodfix.redaction.rules import MASK, Rule

# Apprise's schemes (apprise 2.3), and ours, whose addresses are made of tokens; those of protocols that hide only a user
# are left out.
APPRISE = frozenset(
    """46elks acs apprise apprises aprs atalk awswhatsapp azure bale bark barks betterstack blink1 bluesky brevo bsky bulksms
    bulkvs burstsms chanify clickatell clicksend cliq cm d7sms dapnet deltachat deltachats dingtalk discord dot eight00com elks
    emby embys enigma2 enigma2s evolution evolutions exotel fcm feishu firehydrant flock flowtriq flowtriqs fluxer fluxers form
    forms freemobile gchat gio goalert goalerts gorush gorushs gotify gotifys groundmail groupme growl guilded gupshup hassio
    hassios httpsms humhub humhubs ifttt ilert incidentio infobip instagram jellyfin jellyfins jira join json jsons kakao
    kakaotalk kaleyra kavenegar klr kodi kodis kook kudosity kumulos lametric lametrics lark lauther lfg line mailersend mailgun
    mailto mailtos mastodon mastodons matrix matrixs misskey misskeys mmost mmosts mobilemessage mobilemsg msg91 msgbird ncloud
    nclouds nctalk nctalks nexmo nostr notica noticas notifiarr notifico notificos notifyapp notifyre ntfy ntfys o365 octopush
    onebot onebots onesignal opsgenie opsimate opsimates pagerduty pagertree parsep parseps pbul pinglet pinglets pingram pjet
    pjets plivo postmark pover prowl psafer psafers push pushdeer pushdeers pushed pushme pushplus pushward pushy qq reddit
    hook hooks
    resend revolt ringc rocket rockets ryver schan sendgrid sendpulse serwersms ses session sessions seven sfr signal signalgrid
    signals signl4 simplepush sinch slack smsc smseagle smseagles smsmanager smsmgr smstunnel smtp2go sns sogs sparkpost spike
    splunk spugpush spush squadcast stackfield strmlabs synology synologys telesign telnyx tgram threema toot toots trigv trigvs
    tweet twilio twist twitter vapid viber victorops voipms vonage webex wechat wecom wecombot whapi whatsapp workflow workflows
    wpush wxpusher wxteams xbmc xbmcs xmatters xml xmls youlmk zalo zcliq zohocliq zoom zulip""".split()
)


def _apprise(match: re.Match[str]) -> str:
    known = match[1].lower() in APPRISE and any(letter.isalnum() for letter in match[2][:200])
    return f"{match[1]}://{MASK}" if known else match[0]


# What follows in the path is the secret: of the host that is named, or of a web hook wherever it is.
_HOOKS = (
    r"hooks\.slack(?:-gov)?\.com/[a-z]{1,20}|/services/(?=t\w{4,40}/b\w{4,40}/)|/(?:triggers|workflows)/(?=[te]?[\da-z]{8,40}/\w)"
    r"|/api/(?:v\d{1,2}/)?webhooks(?=/\d{6,30}/)|/webhookb2|outlook\.office(?:365)?\.com/webhook|hooks\.zapier\.com/hooks"
    r"|hooks?\.(?:[a-z\d]{1,9}\.)?make\.com|maker\.ifttt\.com/\w{1,20}|/with/key|hc-ping\.com|webhook\.site"
    r"|events\.(?:eu\.)?pagerduty\.com/\w{1,20}|api\.day\.app|/open-apis/bot/v\d/hook|api\.telegram\.org/(?:file/)?(?=bot)"
    r"|/(?:incoming[_-]?)?(?:web[_-]?)?hooks?(?=/[^\s\"'<>]{0,50}?[\w-]{16})"
)
_PARAMETERS = (  # of a query; some are secrets however short they are
    r"(?:(?:x-[a-z]{2,8}-|q-|amz-)?(?:signature|credential|security-token)|sig|sign|hmac|key-pair-id|otp|pass|pw|pin|jwt|ak|sk"
    r"|(?:aws|oss|google)?access-?(?:key-?)?id|saml(?:response|request|art)|hdn(?:ts|ea|tl)|code_verifier|(?:client_)?assertion)"
)
_LONG_PARAMETERS = (
    r"(?:key|code|auth|policy|state|nonce|ticket|sid|session|hash|h|t|s|k|invite|invitation|activation|confirm(?:ation)?|verify"
    r"|verification|magic|reset|unsubscribe|device|sso|login_hint)"
)
_BETWEEN = r"(?:[?&;#]|%(?:25)?3f|%(?:25)?26)(?:amp;)?"
_EQUALS = r"(?:=|%(?:25)?3d)"

URLS = (  # of texts with ://
    Rule(
        ("mongodb",),
        # A password may hold an unescaped quote, which the specification forbids and people write: the last @ decides.
        compiled_later(
            r"(?i)(?<![a-z\d])mongodb(\+srv)?://(?!(?:\*\*\*@)?\*\*\*(?:[/?\s]|$))(?:\S{0,256}@)?[^\s\"'<>]*+"
        ),
        r"mongodb\1://" + MASK,
    ),
    Rule((), compiled_later(r"(?i)(?<![a-z\d+.-])([a-z\d]{1,21})://((?:\S{0,256}@)?[^\s\"'<>]*+)"), _apprise),
    Rule((), compiled_later(r"(?i)(?<![a-z\d+.-])([a-z][a-z0-9+.-]{1,20}://)[^\s/?#\"']{1,512}@"), r"\1" + MASK + "@"),
)
PATHS = (  # of texts with a slash
    Rule(
        (
            "hook",
            "/services/",
            "/triggers/",
            "/workflows/",
            "/with/key",
            "ifttt",
            "hc-ping",
            "pagerduty",
            "day.app",
            "telegram",
        ),
        compiled_later(rf"(?i)({_HOOKS})/?(?!\*\*\*)[^\s\"'<>]++"),
        r"\1/" + MASK,
    ),
    Rule(
        ("with url", "for url", " url='", "url=url("),  # urllib3's, requests', httpx's and aiohttp's words
        compiled_later(
            r"(?i)((?:\bwith url|\bfor url|, url=(?:url\()?)[:=]?\s?['\"]?(?:[a-z]{2,8}://[^\s/?#'\"]{1,255})?)"
            r"(?!/\*\*\*)[/?][^\s'\"<>]*+"
        ),
        r"\1/" + MASK,
    ),
)
QUERIES = (  # of texts with an equals sign, as it is or as %3D
    Rule(
        (
            "sig", "credential", "security-token", "hmac", "key-pair", "otp", "pass", "pw", "pin", "jwt", "ak=", "sk=", "ak%",
            "sk%", "accessid", "access-id", "keyid", "key-id", "saml", "hdn", "verifier", "assertion",
        ),
        compiled_later(rf"(?i)({_BETWEEN}{_PARAMETERS}{_EQUALS})(?!\*\*\*)[^\s&;\"'<>#]++"),
        r"\1" + MASK,
    ),
    Rule(
        (),
        compiled_later(rf"(?i)({_BETWEEN}{_LONG_PARAMETERS}{_EQUALS})(?=[^\s&;\"'<>#]{{12}})[^\s&;\"'<>#]++"),
        r"\1" + MASK,
    ),
)  # fmt: skip
BOTS = (
    Rule(
        ("bot", ":aa", "%3aaa"),
        compiled_later(r"\b[Bb]ot\d{5,12}(?::|%3A)[\w-]{8,}+|(?<![\w-])\d{8,12}(?::|%3A)AA[\w-]{30,}+"),
        MASK,
    ),
)
USERS = (  # of texts with an @
    Rule(
        (),  # user and password without a scheme; the digest of a container's image is none
        compiled_later(r"(?<![\w.+*-])([\w.+-]{1,64}:)(?!\*\*\*)[^\s/?#@\"'<>:,;]{1,256}@(?!sha\d)(?=[\w\[])"),
        r"\1" + MASK + "@",
    ),
)
