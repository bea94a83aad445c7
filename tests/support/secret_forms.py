"""How secrets and personal numbers look that others issue, made up anew each time: the corpus of what must not come out."""

from __future__ import annotations

import base64
import json
import random
import string
from collections.abc import Callable

_ALNUM, _HEX, _UP = string.ascii_letters + string.digits, "0123456789abcdef", string.ascii_uppercase + string.digits


def draw(length: int, letters: str = _ALNUM) -> str:
    # With a digit, so that nothing ordinary is drawn.
    return "".join(random.choice(letters) for _ in range(length - 2)) + random.choice(letters) + "7"


def _jwt() -> str:
    head, body = (
        base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=")
        for part in ({"alg": "HS256"}, {"sub": draw(9)})
    )
    return f"{head}.{body}.{draw(43)}"


def _card() -> str:
    digits = "4" + draw(14, string.digits)
    total = sum(sum(divmod(int(digit) * (2 - index % 2), 10)) for index, digit in enumerate(digits))
    return digits + str(-total % 10)


def _iban() -> str:
    bank = draw(18, string.digits)
    check = 98 - int(f"{bank}131400") % 97
    return f"DE{check:02}{bank}"


# A function that makes a text, and what of it must not come out.
FORMS: dict[str, Callable[[], tuple[str, str]]] = {}


def _form(name: str, before: str, secret: Callable[[], str], after: str = "") -> None:
    def make() -> tuple[str, str]:
        made = secret()
        return before + made + after, made

    FORMS[name] = make


_form("slack hook", "https://hooks.slack.com/services/T01ABCDEF/B01ABCDEF/", lambda: draw(24))
_form("slack workflow", "https://hooks.slack.com/workflows/T01ABCDEF/A01/123/", lambda: draw(24))
_form(
    "slack hook of urllib3",
    "HTTPSConnectionPool(host='hooks.slack.com', port=443): Max retries exceeded with url: /services/T01ABCDEF/B01ABCDEF/",
    lambda: draw(24),
    " (Caused by NewConnectionError())",
)
_form("slack hook's path", "POST /services/T01ABCDEF/B01ABCDEF/", lambda: draw(24))
_form("discord hook", "https://discord.com/api/webhooks/1234567890123456789/", lambda: draw(68))
_form(
    "old discord hook", "https://discordapp.com/api/v10/webhooks/1234567890123456789/", lambda: draw(68), "?wait=true"
)
_form("discord bot", "", lambda: f"M{draw(23)}.G{draw(5)}.{draw(27)}")
_form("telegram", "https://api.telegram.org/bot", lambda: f"{draw(10, '123456789')}:AA{draw(33)}", "/sendMessage")
_form(
    "telegram file",
    "https://api.telegram.org/file/bot",
    lambda: f"{draw(10, '123456789')}:AA{draw(33)}",
    "/photos/a.jpg",
)
_form("telegram path", "url: /bot", lambda: f"{draw(10, '123456789')}:AA{draw(33)}", "/getMe")
_form("telegram token", "token was ", lambda: f"{draw(10, '123456789')}:AA{draw(33)}")
_form(
    "teams hook",
    "https://x.webhook.office.com/webhookb2/",
    lambda: f"{draw(32, _HEX)}@{draw(32, _HEX)}/IncomingWebhook/{draw(32, _HEX)}",
)
_form(
    "teams workflow",
    "https://prod-12.westeurope.logic.azure.com:443/workflows/abc/triggers/manual/paths/invoke?api-version=2016&sp=%2F&sv=1.0&sig=",
    lambda: draw(43),
)
_form("google chat", "https://chat.googleapis.com/v1/spaces/AAAA/messages?key=", lambda: draw(39))
_form("mattermost hook", "https://chat.example.org/hooks/", lambda: draw(26))
_form("any hook", "https://example.org/api/incoming-webhook/", lambda: draw(26))
_form("zapier", "https://hooks.zapier.com/hooks/catch/12345/", lambda: draw(7))
_form("ifttt", "https://maker.ifttt.com/trigger/x/with/key/", lambda: draw(22))
_form("make", "https://hook.eu1.make.com/", lambda: draw(32))
_form("healthchecks", "https://hc-ping.com/", lambda: draw(36))
_form("pagerduty", "https://events.pagerduty.com/integration/", lambda: draw(32, _HEX), "/enqueue")
_form("feishu", "https://open.feishu.cn/open-apis/bot/v2/hook/", lambda: draw(36))
_form("dingtalk", "https://oapi.dingtalk.com/robot/send?access_token=", lambda: draw(64))
_form("wecom", "https://qyapi.weixin.qq.com/cgi-bin/webhook/send?key=", lambda: draw(36))
for _scheme in (
    "slack",
    "tgram",
    "gotify",
    "gotifys",
    "discord",
    "mailtos",
    "pover",
    "ntfys",
    "jsons",
    "workflows",
    "twilio",
    "sendgrid",
    "matrixs",
    "opsgenie",
    "pbul",
    "zulip",
):
    _form(f"apprise {_scheme}", f"{_scheme}://", lambda: f"{draw(12)}/{draw(12)}/{draw(20)}")
    _form(f"apprise {_scheme} with a user", f"{_scheme}://user:", lambda: draw(12), "@example.org/x?to=a")
_form("aws key", "", lambda: f"AKIA{draw(16, _UP)}")
_form("aws session key", "using ", lambda: f"ASIA{draw(16, _UP)}")
_form("aws secret", "aws_secret_access_key = ", lambda: draw(40))
_form(
    "presigned of s3",
    "https://b.s3.amazonaws.com/k?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Date=20260101T000000Z&X-Amz-Signature=",
    lambda: draw(64, _HEX),
)
_form(
    "credential of s3",
    "https://b.s3.amazonaws.com/k?X-Amz-Credential=",
    lambda: draw(20),
    "%2F20260101%2Feu%2Fs3%2Faws4_request&X-Amz-Expires=60",
)
_form("session of s3", "/k?X-Amz-Expires=60&X-Amz-Security-Token=", lambda: draw(90), "&x=1")
_form("old s3", "https://b.s3.amazonaws.com/k?AWSAccessKeyId=x&Expires=1&Signature=", lambda: draw(28))
_form("form of s3", "{'X-Amz-Signature': '", lambda: draw(64, _HEX), "', 'policy': 'x'}")
_form("authorization of aws", "AWS4-HMAC-SHA256 Credential=x/y, SignedHeaders=host, Signature=", lambda: draw(64, _HEX))
_form(
    "presigned within a url",
    "https://a.example/login?next=https%3A%2F%2Fb%2Fk%3FX-Amz-Signature%3D",
    lambda: draw(64, _HEX),
)
_form("sas", "https://x.blob.core.windows.net/c/b?sv=2022-11-02&se=2026-01-01&sr=b&sp=r&sig=", lambda: draw(43), "%3D")
_form("sas alone", "SharedAccessSignature=sr=x&sig=", lambda: draw(43))
_form(
    "azure storage",
    "DefaultEndpointsProtocol=https;AccountName=x;AccountKey=",
    lambda: draw(86),
    "==;EndpointSuffix=core.windows.net",
)
_form(
    "service bus", "Endpoint=sb://x.servicebus.windows.net/;SharedAccessKeyName=Root;SharedAccessKey=", lambda: draw(43)
)
_form("azure secret", "", lambda: f"{draw(3)}8Q~{draw(34)}")
_form(
    "presigned of gcs",
    "https://storage.googleapis.com/b/o?X-Goog-Algorithm=GOOG4&X-Goog-Expires=60&X-Goog-Signature=",
    lambda: draw(128, _HEX),
)
_form(
    "old gcs",
    "https://storage.googleapis.com/b/o?Expires=1&GoogleAccessId=",
    lambda: f"{draw(9)}@p.iam.gserviceaccount.com",
    "&Signature=x",
)
_form("cloudfront", "https://d1.cloudfront.net/x?Expires=1&Signature=", lambda: draw(90), "&Key-Pair-Id=K1")
_form("policy of cloudfront", "https://d1.cloudfront.net/x?Policy=", lambda: draw(90))
_form("oss", "https://b.oss-cn.aliyuncs.com/k?OSSAccessKeyId=x&Signature=", lambda: draw(28))
_form("akamai", "https://cdn.example/x?hdnts=", lambda: f"exp=1~acl=/*~hmac={draw(64, _HEX)}")
_form("oauth code", "/callback?state=", lambda: draw(24), "&x=1")
_form("oauth code 2", "/callback?x=1&code=", lambda: draw(24))
_form("saml", "/acs?SAMLResponse=", lambda: draw(60))
_form("reset link", "https://app.example/reset?token=", lambda: draw(32))
_form("github", "", lambda: f"ghp_{draw(36)}")
_form("fine-grained github", "", lambda: f"github_pat_{draw(22)}_{draw(59)}")
_form("gitlab", "", lambda: f"glpat-{draw(20)}")
_form("slack bot", "", lambda: f"xoxb-{draw(12, string.digits)}-{draw(24)}")
_form("slack app", "", lambda: f"xapp-1-A{draw(9, _UP)}-{draw(13, string.digits)}-{draw(64, _HEX)}")
_form("stripe", "", lambda: f"sk_live_{draw(24)}")
_form("stripe hook", "", lambda: f"whsec_{draw(32)}")
_form("square", "", lambda: f"sq0atp-{draw(22)}")
_form("google", "", lambda: f"AIza{draw(35)}")
_form("google client", "", lambda: f"GOCSPX-{draw(28)}")
_form("google access", "", lambda: f"ya29.{draw(60)}")
_form("google refresh", "", lambda: f"1//0{draw(60)}")
_form("firebase", "", lambda: f"{draw(22)}:APA91b{draw(134)}")
_form("sendgrid", "", lambda: f"SG.{draw(22)}.{draw(43)}")
_form("mailgun", "", lambda: f"key-{draw(32, _HEX)}")
_form("mailchimp", "", lambda: f"{draw(32, _HEX)}-us12")
_form("brevo", "", lambda: f"xkeysib-{draw(64, _HEX)}-{draw(16)}")
_form("twilio", "", lambda: f"SK{draw(32, _HEX)}")
_form("twilio account", "https://api.twilio.com/2010-04-01/Accounts/", lambda: f"AC{draw(32, _HEX)}", "/Messages.json")
_form("openai", "", lambda: f"sk-proj-{draw(48)}")
_form("anthropic", "", lambda: f"sk-ant-api03-{draw(93)}")
_form("hugging face", "", lambda: f"hf_{draw(34)}")
_form("npm", "", lambda: f"npm_{draw(36)}")
_form("pypi", "", lambda: f"pypi-AgEIcHlwaS5vcmc{draw(80)}")
_form("docker", "", lambda: f"dckr_pat_{draw(27)}")
_form("vault", "", lambda: f"hvs.{draw(90)}")
_form("shopify", "", lambda: f"shpat_{draw(32, _HEX)}")
_form("sentry", "", lambda: f"sntrys_{draw(90)}")
_form("sentry dsn", "https://", lambda: draw(32, _HEX), "@o1.ingest.sentry.io/2")
_form("atlassian", "", lambda: f"ATATT3xFfGF0{draw(170)}")
_form("notion", "", lambda: f"ntn_{draw(44)}")
_form("figma", "", lambda: f"figd_{draw(40)}")
_form("postman", "", lambda: f"PMAK-{draw(24, _HEX)}-{draw(34, _HEX)}")
_form("new relic", "", lambda: f"NRAK-{draw(27, _UP)}")
_form("grafana", "", lambda: f"glsa_{draw(32)}_{draw(8, _HEX)}")
_form("digital ocean", "", lambda: f"dop_v1_{draw(64, _HEX)}")
_form("databricks", "", lambda: f"dapi{draw(32, _HEX)}")
_form("terraform", "", lambda: f"{draw(14)}.atlasv1.{draw(64)}")
_form("fernet", "", lambda: f"gAAAAA{draw(94)}")
_form("paseto", "", lambda: f"v4.local.{draw(90)}")
_form("age", "", lambda: f"AGE-SECRET-KEY-1{draw(58, _UP)}")
_form("facebook", "", lambda: f"EAA{draw(150)}")
_form("jwt", "", _jwt)
_form("bearer", "Authorization: Bearer ", lambda: draw(40))
_form("bearer in prose", "sent bearer ", lambda: draw(40))
_form("basic", "Basic ", lambda: base64.b64encode(f"u:{draw(12)}".encode()).decode())
_form("opsgenie", "Authorization: GenieKey ", lambda: draw(36))
_form("opsgenie in prose", "GenieKey ", lambda: draw(36))
_form("cookie", "Cookie: sid=", lambda: draw(30), "; theme=dark")
_form("flask's cookie", "session=", lambda: f".eJ{draw(60)}")
_form("php's cookie", "PHPSESSID=", lambda: draw(26))
_form("express's cookie", "connect.sid=", lambda: f"s%3A{draw(32)}")
_form("rsa key", "-----BEGIN RSA PRIVATE KEY-----\n", lambda: draw(64), "\n-----END RSA PRIVATE KEY-----")
_form("openssh key", "-----BEGIN OPENSSH PRIVATE KEY-----\n", lambda: draw(70), "\n-----END OPENSSH PRIVATE KEY-----")
_form(
    "pgp key",
    "-----BEGIN PGP PRIVATE KEY BLOCK-----\nVersion: GnuPG v2.0.22 (GNU/Linux)\n\n",
    lambda: draw(64),
    "\n-----END PGP PRIVATE KEY BLOCK-----",
)
_form("putty key", "Private-Lines: 14\n", lambda: draw(64))
for _name in (
    "password",
    "db_password",
    "PGPASSWORD",
    "passphrase",
    "client_secret",
    "api_key",
    "apikey",
    "X-Api-Key",
    "access_token",
    "refreshToken",
    "private_key",
    "signing_key",
    "encryptionKey",
    "sessionid",
    "otp",
    "cvc",
    "Passwort",
    "contraseña",
    "sentry_dsn",
):
    _form(f"{_name}=", f"{_name}=", lambda: draw(14))
    _form(f"{_name} in json", f'{{"{_name}": "', lambda: draw(14), '", "x": 1}')
    _form(f"{_name} in yaml", f"{_name}: ", lambda: draw(14))
_form("mongodb", "mongodb+srv://user:", lambda: draw(16), "@c.example.org/db")
_form("postgres", "postgresql://user:", lambda: draw(16), "@db:5432/x")
_form("redis", "redis://:", lambda: draw(16), "@h:6379/0")
_form("user without a scheme", "/user:", lambda: draw(16), "@h/x")
_form("email", "to ", lambda: f"{draw(9)}@example.org")
_form("card", "card ", _card, " refused")
_form("iban", "account ", _iban, " unknown")
_form("telephone", "called +49 ", lambda: f"170 {draw(8, string.digits)}")
_form("social security", "ssn was ", lambda: f"123-45-{draw(4, string.digits)}")

CARRIERS: dict[str, Callable[[str], str]] = {
    "alone": lambda text: text,
    "prose": lambda text: f"The call has failed, {text} was refused",
    "quoted": lambda text: f"refused: '{text}'",
    "json": lambda text: json.dumps({"message": text, "x": [1]}),
    "repr": lambda text: repr({"message": text}),
    "tag": lambda text: f'<a href="{text}">x</a>',
    "line": lambda text: f"ERROR 2026-01-02 03:04:05 [x] {text}\n  next line",
    "exception": lambda text: repr(ValueError(text)),
    "parentheses": lambda text: f"failed ({text}), again in 5 s",
}
"""In what a secret stands. Percent-encoded texts are not among them: of those only names and addresses are known."""
