"""User agents as they are met in the field, and what each of them is: some 800, with the families of names that are mistaken."""

# ruff: noqa: E501 - a user agent is one line
from __future__ import annotations

WEBKIT = "AppleWebKit/537.36 (KHTML, like Gecko)"
SAFARI = "AppleWebKit/605.1.15 (KHTML, like Gecko)"
IPHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 17_4 like Mac OS X)"
PIXEL = "Mozilla/5.0 (Linux; Android 14; Pixel 8"
NEXUS = f"Mozilla/5.0 (Linux; Android 6.0.1; Nexus 5X Build/MMB29P) {WEBKIT} Chrome/126.0.6478.61 Mobile Safari/537.36"
WINDOWS = f"Mozilla/5.0 (Windows NT 10.0; Win64; x64) {WEBKIT}"
MAC = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7)"

APP_NAMES = [
    "HeartMonitor", "BabyMonitor 3G", "Monitor", "NetworkMonitor-Pro", "com.example.monitor", "UptimeGym", "Uptime", "Previewer",
    "RobotChess", "Robot", "ChatBot", "MyBot", "BotFather", "Botanica", "Abbott", "SpiderSolitaire", "Spider", "Spiderman Go",
    "CrawlerGame", "Crawler", "SkyCrawl", "Scraper", "Scrapbook", "ScrapMonster", "Headless Horseman", "Lighthouse Map", "PingdomFan",
    "CurlTracker", "Curly", "Hair Curl", "JavaCoffee", "Java House", "PythonTutor", "Python Tutor", "Pythonista", "NodeWatch",
    "Nodejitsu", "Rubyline", "Ruby Tuesday", "PHPeople", "PerlaShop", "WgetWell", "GotIt", "Hyperion", "RenderMe", "GitJournal",
    "Gitter", "K6 Fitness", "Axios News", "Postman", "Insomnia Timer", "Guzzler", "Prometheus", "Playstation App", "Xbox",
    "Nintendo Store", "AppleTV Remote", "Roku Remote", "Bravia Control", "TV Guide", "Requests", "Slurpee", "Yeti Coolers",
]  # fmt: skip
OF_PHONES = [
    "{name}/3.2 (iPhone; iOS 17.4; Scale/3.00)",
    "{name}/3.2 (iPad; iPadOS 17.4; Scale/2.00)",
    "{name}/3.2 CFNetwork/1494.0.7 Darwin/23.4.0",
    "{name}/3.2 (com.example.app; build:7; iOS 17.4.1) Alamofire/5.9.1",
    "{name}/3.2 (Android 14; Pixel 8) okhttp/4.12.0",
    "{name}/3.2 (Linux; U; Android 14; de_DE; Pixel 8 Build/AP1A; Cronet/124.0)",
    "{name}/3.2 Dart/3.4 (dart:io)",
    "{name}/1.0 (Apple Watch; watchOS 10.4; Scale/2.00)",
    IPHONE + f" {SAFARI} Mobile/15E148 {{name}}/3.2",
    PIXEL + f"; wv) {WEBKIT} Version/4.0 Chrome/126.0 Mobile Safari/537.36 {{name}}/3.2",
]
MOBILE = [pattern.format(name=name) for name in APP_NAMES for pattern in OF_PHONES] + [
    "HeartMonitor/3.2 (iPhone; iOS 17.4.1; Scale/3.00)",
    "Overcast/3.0 (+http://overcast.fm/; iOS podcast app)",
    "PodcastAddict/v5 (+https://podcastaddict.com/; Android podcast app)",
    "AntennaPod/3.4.0 (Android 14)",
    "aws-sdk-android/2.75.0 Linux/4.19 Dalvik/2.1.0/0 en_US",
    "aws-sdk-iOS/2.33.4 iOS/17.4 en_US",
    "Instagram 330.0.0.40.92 Android (34/14; 420dpi; 1080x2154; Google/google; Pixel 8; shiba; shiba; en_US; 592)",
    f"{IPHONE} {SAFARI} Mobile/15E148 Instagram 330.0.3.29.96 (iPhone15,2; iOS 17_4; en_US; en; scale=3.00; 1179x2556)",
    f"{IPHONE} {SAFARI} Mobile/15E148 [FBAN/FBIOS;FBAV/460.0.0.32;FBDV/iPhone15,2;FBSN/iOS;FBSV/17.4]",
    f"{PIXEL}) {WEBKIT} Chrome/126.0 Mobile Safari/537.36 MicroMessenger/8.0.49 NetType/WIFI",
    f"{IPHONE} {SAFARI} GSA/318.0.634 Mobile/15E148 Safari/604.1",
    f"{IPHONE} {SAFARI} Version/17.4 Mobile/15E148 Safari/604.1 Ddg/17.4",
    f"{PIXEL}) {WEBKIT} Chrome/126.0 Mobile Safari/537.36 EdgA/126.0",
    f"{PIXEL}) {WEBKIT} Chrome/126.0 Mobile Safari/537.36 OPR/82.0",
    f"{PIXEL}) {WEBKIT} Chrome/126.0 YaBrowser/24.6 Mobile Safari/537.36",
    f"{PIXEL}) {WEBKIT} UCBrowser/15.5 Mobile Safari/537.36",
    f"Mozilla/5.0 (Linux; Android 12; Quest 3) {WEBKIT} OculusBrowser/33.0 Chrome/126.0 VR Safari/537.36",
    f"Mozilla/5.0 (Linux; Android 13; KING KONG 9 CUBOT) {WEBKIT} Chrome/126.0 Mobile Safari/537.36",
    f"Mozilla/5.0 (Linux; Tizen 2.3; SAMSUNG SM-Z130H) {WEBKIT} SamsungBrowser/1.1 Mobile Safari/537.3",
    "Mozilla/5.0 (compatible; MSIE 10.0; Windows Phone 8.0; Trident/6.0; IEMobile/10.0; NOKIA; Lumia 920)",
    "Mozilla/5.0 (BB10; Touch) AppleWebKit/537.10+ (KHTML, like Gecko) Version/10.0.9.2372 Mobile Safari/537.10+",
    "BlackBerry9700/5.0.0.862 Profile/MIDP-2.1 Configuration/CLDC-1.1 VendorID/120",
    "Nokia6300/2.0 (05.00) Profile/MIDP-2.0 Configuration/CLDC-1.1",
    "SonyEricssonK750i/R1CA Browser/SEMC-Browser/4.2 Profile/MIDP-2.0 Configuration/CLDC-1.1",
    "Mozilla/5.0 (SymbianOS/9.4; Series60/5.0 Nokia5800d-1/60.0.003) AppleWebKit/533.4 (KHTML, like Gecko) BrowserNG/7.3",
    "Opera/9.80 (J2ME/MIDP; Opera Mini/9.80 (S60; SymbOS; Opera Mobi/23.348; U; en) Presto/2.5.25 Version/10.54",
    "UCWEB/2.0 (MIDP-2.0; U; Adr 4.4.4; en-US; XT1022) U2/1.0.0 UCBrowser/10.6.0.706 U2/1.0.0 Mobile",
    "Mozilla/5.0 (Mobile; LYF/F90M/LYF-F90M-000; Android; rv:48.0) Gecko/48.0 Firefox/48.0 KAIOS/2.5",
    "Mozilla/5.0 (PlayBook; U; RIM Tablet OS 2.1.0; en-US) AppleWebKit/536.2+ (KHTML, like Gecko) Version/7.2 Safari/536.2+",
    "Mozilla/5.0 (X11; U; Linux armv7l like Android; en-us) AppleWebKit/531.2+ (KHTML, like Gecko) Kindle/3.0+",
    "Mozilla/5.0 (Linux; U; Android 4.0.3; en-us; KFTT Build/IML74K) AppleWebKit/534.30 Silk/3.4 Mobile Safari/534.30",
    f"Mozilla/5.0 (Phone; OpenHarmony 5.0) {WEBKIT} Chrome/114.0 Safari/537.36 ArkWeb/4.1.6.1 Mobile RobotChess/1.0",
    "HeartMonitor/3.2 (HarmonyOS 4.2; ALN-AL00)",
    "Dalvik/2.1.0 (Linux; U; Android 13; SM-R960 Build/TWR; Wear OS)",
    "com.apple.WebKit.Networking/19618 CFNetwork/1494.0.7 Darwin/23.4.0",
    "Podcasts/1626.4 CFNetwork/1494.0.7 Darwin/23.4.0",
    "grpc-java-okhttp/1.64.0", "okhttp/3.14.9", "ktor-client", "Expo/2.31.2 okhttp/4.9.2", "ReactNative/0.74 (iOS)",
]  # fmt: skip
PLAIN_NAMES = [name for name in APP_NAMES if name in ("HeartMonitor", "RobotChess", "Botanica", "SkyCrawl", "Scrapbook", "PythonTutor",
               "JavaCoffee", "Curly", "NodeWatch", "PHPeople", "SpiderSolitaire", "Spiderman Go", "Rubyline", "Pythonista")]  # fmt: skip
OF_COMPUTERS = [
    "{name}/1.0 (Windows NT 10.0; Win64; x64)",
    "{name}/1.0 (Macintosh; Intel Mac OS X 14_4)",
    WINDOWS + " {name}/1.0 Chrome/126.0 Electron/31.0 Safari/537.36",
    "{name}/3 (org.example.app; build:3; macOS 14.5.0) Alamofire/5.9.1",
]
DESKTOP = [pattern.format(name=name) for name in PLAIN_NAMES for pattern in OF_COMPUTERS] + [
    f"{WINDOWS} Chrome/126.0 Safari/537.36", f"{WINDOWS} Chrome/126.0 Safari/537.36 Edg/126.0", f"{WINDOWS} Chrome/126.0 Safari/537.36 OPR/111.0",
    f"{WINDOWS} Chrome/126.0 Safari/537.36 Vivaldi/6.7", "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:127.0) Gecko/20100101 Firefox/127.0",
    "Mozilla/5.0 (Windows NT 6.1; WOW64; Trident/7.0; rv:11.0) like Gecko", "Mozilla/4.0 (compatible; MSIE 7.0; Windows NT 5.1)",
    "Mozilla/5.0 (compatible; MSIE 9.0; Windows NT 6.1; Trident/5.0)", "Opera/9.80 (Windows NT 6.1; U; en) Presto/2.8.131 Version/11.10",
    f"{MAC} {SAFARI} Version/17.4 Safari/605.1.15", f"{MAC} {WEBKIT} Chrome/126.0 Safari/537.36",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10.15; rv:127.0) Gecko/20100101 Firefox/127.0",
    "Mozilla/5.0 (Macintosh; U; PPC Mac OS X; en) AppleWebKit/418 (KHTML, like Gecko) Safari/417.9.3",
    f"Mozilla/5.0 (X11; Linux x86_64) {WEBKIT} Chrome/126.0 Safari/537.36", "Mozilla/5.0 (X11; Linux x86_64; rv:127.0) Gecko/20100101 Firefox/127.0",
    "Mozilla/5.0 (X11; Ubuntu; Linux aarch64; rv:127.0) Gecko/20100101 Firefox/127.0", "Mozilla/5.0 (Wayland; Linux x86_64; rv:127.0) Gecko/20100101 Firefox/127.0",
    f"Mozilla/5.0 (X11; CrOS x86_64 14541.0.0) {WEBKIT} Chrome/126.0 Safari/537.36", f"Mozilla/5.0 (X11; FreeBSD amd64) {WEBKIT} Chrome/126.0 Safari/537.36",
    "Mozilla/5.0 (compatible; Konqueror/4.5; Windows NT 10.0) KHTML/4.5.4 (like Gecko)",
    f"{MAC} {WEBKIT} Slack/4.38.125 Chrome/126.0 Electron/31.0 Safari/537.36", f"{WINDOWS} Teams/24.1 Chrome/126.0 Electron/31.0 Safari/537.36",
    f"Mozilla/5.0 (PC; OpenHarmony 5.0) {WEBKIT} Chrome/114.0 Safari/537.36 ArkWeb/4.1.6.1",
]  # fmt: skip
ROBOTS = [
    f"{NEXUS} (compatible; GoogleOther)", f"{NEXUS} (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
    f"{NEXUS} (compatible; Google-InspectionTool/1.0)", f"{NEXUS} (compatible; AdsBot-Google-Mobile; +http://www.google.com/mobile/adsbot.html)",
    f"{NEXUS} (compatible; Storebot-Google/1.0)", f"{NEXUS} (compatible; Google-Read-Aloud; +https://support.google.com/webmasters/answer/1061943)",
    f"{NEXUS} (compatible; bingbot/2.0; +http://www.bing.com/bingbot.htm)", f"{NEXUS} GoogleOther", "GoogleOther", "GoogleOther-Image/1.0", "GoogleOther-Video/1.0",
    f"{NEXUS} (compatible; PetalBot;+https://webmaster.petalsearch.com/site/petalbot)", f"{NEXUS} (compatible; Bytespider; spider-feedback@bytedance.com)",
    f"{NEXUS} Chrome-Lighthouse", f"{NEXUS} (compatible; DuckDuckBot-Https/1.1; https://duckduckgo.com/duckduckbot)",
    f"{IPHONE} {SAFARI} Version/17.4 Mobile/15E148 Safari/604.1 (compatible; AdsBot-Google-Mobile; +http://www.google.com/mobile/adsbot.html)",
    f"{IPHONE} {SAFARI} Version/8.0 Mobile/12B411 Safari/600.1.4 (compatible; YandexMobileBot/3.0; +http://yandex.com/bots)",
    f"{IPHONE} {SAFARI} Mobile/15E148 Safari/604.1 (Applebot/0.1; +http://www.apple.com/go/applebot)", f"{IPHONE} Mobile/15E148 (Applebot/0.1)",
    f"{IPHONE} {SAFARI} Mobile/15E148 (compatible; SemrushBot-SI/0.97; +http://www.semrush.com/bot.html)",
    f"{IPHONE} {SAFARI} Version/17.4 Mobile/15E148 Safari/604.1 Chrome-Lighthouse",
    "Mozilla/5.0 (Linux;u;Android 4.2.2;zh-cn;) AppleWebKit/534.46 Mobile Safari/9537.53 (compatible; Baiduspider/2.0; +http://www.baidu.com/search/spider.html)",
    "Mozilla/5.0 (Linux; Android 11; HarmonyOS; X) AppleWebKit/537.36 Mobile Safari (compatible; PetalBot; +https://x.example/bot)",
    f"{MAC} AppleWebKit/601.2.4 (KHTML, like Gecko) Version/9.0.1 Safari/601.2.4 facebookexternalhit/1.1 Facebot Twitterbot/1.0",
    f"{WINDOWS} HeadlessChrome/126.0 Safari/537.36", f"{WINDOWS} Chrome/126.0 Safari/537.36 PingdomPageSpeed/1.0 (pingbot/2.0; +http://www.pingdom.com/)",
    f"{WINDOWS} Chrome/126.0 Safari/537.36 DatadogSynthetics", f"{WINDOWS} Chrome/126.0 Safari/537.36 Google-PageRenderer Google (+https://developers.google.com/+/web/snippet/)",
    f"{WINDOWS} Chrome/126.0 Safari/537.36 BingPreview/1.0b", f"{WINDOWS} Chrome/126.0 Safari/537.36 PTST/240603", f"{WINDOWS} Chrome/126.0 Safari/537.36 GTmetrix",
    f"{WINDOWS} Chrome/126.0 Safari/537.36; compatible; GPTBot/1.2; +https://openai.com/gptbot", f"{WINDOWS} SomeCrawler/1.0", f"{WINDOWS} (compatible; Odd/1.0)",
    "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)", "Mozilla/5.0 (compatible; YandexBot/3.0; +http://yandex.com/bots)",
    "Mozilla/5.0 (compatible; AhrefsBot/7.0; +http://ahrefs.com/robot/)", "Mozilla/5.0 (compatible; SemrushBot/7~bl; +http://www.semrush.com/bot.html)",
    "Mozilla/5.0 (compatible; MJ12bot/v1.4.8; http://mj12bot.com/)", "Mozilla/5.0 (compatible; DotBot/1.2; +https://opensiteexplorer.org/dotbot)",
    "Mozilla/5.0 (compatible; Amazonbot/0.1; +https://developer.amazon.com/support/amazonbot)", "Mozilla/5.0 (compatible; ClaudeBot/1.0; +claudebot@anthropic.com)",
    "Mozilla/5.0 (compatible; UptimeRobot/2.0; http://www.uptimerobot.com/)", "Mozilla/5.0 (compatible; Yahoo! Slurp; http://help.yahoo.com/help/us/ysearch/slurp)",
    "Mozilla/5.0 (compatible; archive.org_bot +http://archive.org/details/archive.org_bot)", "Mozilla/5.0 (compatible; SeznamBot/4.0; +http://napoveda.seznam.cz/seznambot/)",
    "Googlebot/2.1 (+http://www.google.com/bot.html)", "Googlebot-Image/1.0", "AdsBot-Google (+http://www.google.com/adsbot.html)", "Mediapartners-Google",
    "APIs-Google (+https://developers.google.com/webmasters/APIs-Google.html)", "FeedFetcher-Google; (+http://www.google.com/feedfetcher.html)", "msnbot/2.0b (+http://search.msn.com/msnbot.htm)",
    "facebookexternalhit/1.1 (+http://www.facebook.com/externalhit_uatext.php)", "meta-externalagent/1.1 (+https://developers.facebook.com/docs/sharing/webmasters/crawler)",
    "Twitterbot/1.0", "LinkedInBot/1.0 (compatible; Mozilla/5.0; Apache-HttpClient +http://www.linkedin.com)", "Slackbot-LinkExpanding 1.0 (+https://api.slack.com/robots)",
    "TelegramBot (like TwitterBot)", "Discordbot/2.0 (+https://discordapp.com)", "Pinterestbot/1.0", "DuckDuckBot/1.1; (+http://duckduckgo.com/duckduckbot.html)",
    "Sogou web spider/4.0(+http://www.sogou.com/docs/help/webmasters.htm#07)", "ia_archiver", "CCBot/2.0 (https://commoncrawl.org/faq/)", "SkypeUriPreview Preview/0.5",
    "Pingdom.com_bot_version_1.4_(http://www.pingdom.com/)", "StatusCake", "Site24x7", "Better Uptime Bot", "NewRelicPinger/1.0 (12345)", "ELB-HealthChecker/2.0", "GoogleHC/1.0", "kube-probe/1.30",
    "Googlebot/2.1 (iPhone; iOS 17)", "check_http/v2.3.3 (monitoring-plugins 2.3.3)",
]  # fmt: skip
SCRIPTS = [
    "curl/8.9.1", "curl/7.81.0", "libcurl/8.5.0", "curl/8.7.1 (aarch64-linux-android)", "Wget/1.24.5", "Wget/1.21.2 (linux-gnu)", "python-requests/2.32.3",
    "python-requests/2.2.1 CPython/2.7.6 Darwin/13.1.0", "Python-urllib/3.12", "Python/3.12 aiohttp/3.10.5", "python-httpx/0.27.0", "python-httplib2/0.22.0 (gzip)", "Scrapy/2.11.2 (+https://scrapy.org)",
    "Go-http-client/1.1", "Go-http-client/2.0", "Java/17.0.11", "Java/1.8.0_402", "Java-http-client/21.0.3", "Apache-HttpClient/4.5.14 (Java/17.0.11)", "Apache-HttpClient/UNAVAILABLE (java 1.4)", "Jakarta Commons-HttpClient/3.1",
    "axios/1.7.7", "node", "node-fetch/1.0 (+https://github.com/bitinn/node-fetch)", "undici", "node-superagent/8.0", "got (https://github.com/sindresorhus/got)", "Bun/1.1.18", "Deno/1.45.0",
    "PostmanRuntime/7.42.0", "insomnia/10.0", "GuzzleHttp/7", "Symfony HttpClient (Curl)", "PHP/8.3", "Ruby", "Faraday v2.9.0", "Typhoeus - https://github.com/typhoeus/typhoeus", "rest-client/2.1.0 (linux x86_64) ruby/3.2",
    "RestSharp/111.2.0.0", "libwww-perl/6.77", "HTTPie/3.2.2", "k6/0.51.0 (https://k6.io/)", "Apache-JMeter/5.6", "ApacheBench/2.3", "reqwest/0.12.5", "hyper/1.4", "git/2.45.2", "aws-cli/2.17.0 Python/3.11.8 Linux/6.1 exe/x86_64.ubuntu.22",
    "Boto3/1.34.131 md/Botocore#1.34.131 ua/2.0 os/linux#6.1 md/arch#x86_64 lang/python#3.12.3", "aws-sdk-go/1.54.0 (go1.22.4; linux; amd64)", "Prometheus/2.53.0", "grpc-go/1.65.0", "UnityPlayer/2022.3.1f1 (UnityWebRequest/1.0, libcurl/8.5.0-DEV)",
    "Mozilla/5.0 (Windows NT; Windows NT 10.0; de-DE) WindowsPowerShell/5.1.19041.4522 PowerShell/7.4", "Lavf/60.16.100", "VLC/3.0.20 LibVLC/3.0.20", "x", "",
]  # fmt: skip
TELEVISIONS = [
    "Mozilla/5.0 (SMART-TV; Linux; Tizen 6.0) AppleWebKit/538.1 (KHTML, like Gecko) Version/6.0 TV Safari/538.1",
    f"Mozilla/5.0 (Linux; Tizen 2.3; FamilyHub) {WEBKIT} Version/2.3 TV Safari/538.1", f"Mozilla/5.0 (Web0S; Linux/SmartTV) {WEBKIT} Chrome/94.0 Safari/537.36 WebAppManager",
    f"Mozilla/5.0 (Linux; Android 9; BRAVIA 4K UR2 Build/PTT1) {WEBKIT} Chrome/120.0 Safari/537.36", "Dalvik/2.1.0 (Linux; U; Android 9; BRAVIA 4K UR2 Build/PTT1)",
    f"Mozilla/5.0 (Linux; Android 9; AFTMM Build/PS7233) {WEBKIT} Chrome/70.0 Mobile Safari/537.36", f"Mozilla/5.0 (Linux; Android 11; SHIELD Android TV Build/RQ1A) {WEBKIT} Chrome/120.0 Safari/537.36",
    f"Mozilla/5.0 (X11; Linux armv7l) {WEBKIT} Chrome/90.0 Safari/537.36 CrKey/1.54.250320", f"Mozilla/5.0 (Linux; Android 12; MiTV-AYFR0) {WEBKIT} Chrome/120.0 Safari/537.36",
    "Mozilla/5.0 (Linux; Andr0id 9; BRAVIA 4K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/84.0 Safari/537.36 OPR/46.0 HbbTV/1.5.1 (+DRM; Sony; KD; v9;)",
    "HbbTV/1.2.1 (;Panasonic;VIERA 2014;3.101;6101-0003 0010-0000;)", "Roku/DVP-12.5 (12.5.0 build 4178)", "AppleTV11,1/11.1", "Notes/2.0 (Apple TV; tvOS 17.4; Scale/1.00)", "Notes/2.0 (AppleTV14,1; tvOS 17.4)",
    "Mozilla/5.0 (PlayStation 5 3.20) AppleWebKit/605.1.15 (KHTML, like Gecko)", "Mozilla/5.0 (PlayStation Vita 3.73) AppleWebKit/537.73 (KHTML, like Gecko) Silk/3.2",
    f"{WINDOWS[:-len(WEBKIT) - 2]}; Xbox; Xbox Series X) {WEBKIT} Chrome/126.0 Safari/537.36 Edge/44", "Mozilla/5.0 (Nintendo Switch; WifiWebAuthApplet) AppleWebKit/609.4 (KHTML, like Gecko) NF/6.0",
    "Mozilla/5.0 (Nintendo WiiU) AppleWebKit/536.30 (KHTML, like Gecko) NX/3.0 NintendoBrowser/4.3",
]  # fmt: skip
CORPUS: dict[str, str] = {
    **dict.fromkeys(MOBILE, "mobile"),
    **dict.fromkeys(DESKTOP, "desktop"),
    **dict.fromkeys([*ROBOTS, *SCRIPTS, *TELEVISIONS], "unknown"),
}
