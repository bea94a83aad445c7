"""Which names of fields are names, and which are data of somebody's that stand where a name does."""

from __future__ import annotations

import random
import secrets
import string
import uuid
from collections.abc import Callable

import pytest

from prodfix.operations.shapes import redact_command
from prodfix.redaction.names import mask_key

ORDINARY = """
_id id name firstName first_name lastName last_name email emailAddress email_address address address1 address2
line1 line2 address_line_1 address_line_2 addressLine1 street streetName street_number houseNumber zip zipCode
zip_code postalCode postal_code city town county state province country countryCode country_code region
createdAt created_at updatedAt updated_at deletedAt deleted_at timestamp ts date time dateOfBirth date_of_birth
dob birthday age gender sex height weight phone phoneNumber phone_number mobile fax website url uri href link
links slug title subtitle body text content description summary abstract excerpt tags tag categories category
kind type types status stage phase priority severity level rank score rating ratings votes likes dislikes
shares owner ownerId owner_id userId user_id user users author authors createdBy created_by updatedBy
modifiedBy account accountId account_id tenant tenantId price amount total subtotal tax vat discount currency
quantity qty unit units cost margin balance credit debit invoice invoiceNumber invoice_number items
items.0.price items.$[].price items.$[elem].price address.0.zip address.street geo.location.coordinates loc
location coordinates lat lng latitude longitude a b c x y z n i j k q u v w x1 y1 x2 y2 x1y1x2y2 p50 p90 p95
p99 p999 q1 q2 q3 q4 h1 h2 h3 md5 sha1 sha256 sha512 crc32 utf8 utf8mb4 base64 base32 base64Encoded ipv4 ipv6
ipv4Address ipv6Address http2 http2Enabled oauth2 oauth2Client oauth2_client oauth2ClientId s3 s3Bucket
s3BucketName s3_bucket ec2InstanceId ec2_instance_id i18n l10n a11y k8s k8sNamespace b2b b2c p2p h264 h265 mp3
mp4 mp3Url x509 x509Certificate web3 web3Wallet log4j log4jConfig win32 win64 amd64 arm64 x86_64 2023 2024 2025
2026 0 1 2 10 42 100 999 year2024 q12024 v1 v2 v1beta1 v2alpha1 v10 version schemaVersion schema_version __v _v
_cls _class _type __typename $set $inc $match $push $pull $and $or $elemMatch $gte $lte $in $nin $exists $regex
$text $search $lookup $group $project $unwind $$ROOT $$NOW shippingAddress2 two_factor_backup_code_1
twoFactorBackupCode1 numberOfActiveUsersByCountry number_of_active_users_by_country
averageResponseTimeInMilliseconds average_response_time_in_milliseconds maximumNumberOfConcurrentConnections
lastSuccessfulSynchronisationTimestamp last_successful_synchronisation_timestamp isEmailAddressVerified
is_email_address_verified hasAcceptedTermsAndConditions has_accepted_terms_and_conditions
preferredCommunicationLanguage estimated_time_of_arrival_in_minutes thirtyDayRollingAverageRevenue
thirty_day_rolling_average_revenue customerLifetimeValueEur annualRecurringRevenueUsd sha256Fingerprint
sha256_fingerprint md5Checksum md5_checksum_of_file ipAddressOfLastLogin ip_address_of_last_login latitudeE7
longitudeE7 lat_e6 lon_e6 pm25 pm10 co2 co2Level co2_level no2 o3 h2o so2Ppm pm2_5 pm25Average24h average24h
last7days last_7_days last30DaysTotal last_30_days_total top10 top10Products camelCaseNameWithNumber1
snake_case_name_with_number_2 kebab-case-name kebab-case-name-3 PascalCaseName SCREAMING_SNAKE_CASE
XMLHttpRequest parseHTMLString HTMLParser innerHTML outerHTML xmlns xsi:type dc:title dcterms:created og:image
og:title foaf:name rdf:type @type übung straße größe köln münchen größenordnung adresse anschrift vorname
nachname geburtsdatum postleitzahl telefonnummer rechnungsnummer kundennummer bestellnummer steuernummer
mehrwertsteuer donaudampfschifffahrtsgesellschaft rechtsschutzversicherungsgesellschaften angstschweiss prénom
nom adresse_postale ville région numéro_de_téléphone date_de_naissance qualité créé_le nombre apellido
dirección teléfono fechaDeNacimiento fecha_de_nacimiento código_postal año niño nome cognome indirizzo
cittadinanza codiceFiscale codice_fiscale quantita qualifica nazwisko imię ulica miejscowość województwo
bezwzględnie szczegóły zarządzanie przedsiębiorstwo jméno příjmení zmrzlina čtvrtek strč skrz prst naam
voornaam achternaam straatnaam huisnummer geboortedatum förnamn efternamn gatuadress postnummer födelsedatum
fornavn etternavn gateadresse fødselsdato etunimi sukunimi katuosoite postinumero syntymäaika
lentokonesuihkuturbiinimoottoriapumekaanikkoaliupseerioppilas keresztnév vezetéknév irányítószám születésiDátum
имя фамилия адрес улица датаРождения почтовыйИндекс номер_телефона όνομα επώνυμο διεύθυνση ταχυδρομικόςΚώδικας
名前 苗字 住所 郵便番号 電話番号 生年月日 姓名 地址 邮编 电话 出生日期 이름 주소 전화번호 우편번호 שם כתובת اسم
عنوان नाम पता ชื่อ ที่อยู่ tên địa_chỉ số_điện_thoại ngày_sinh MATNR BUKRS KUNNR LIFNR VBELN POSNR WERKS LGORT
MANDT ERDAT ERNAM AEDAT VKORG VTWEG SPART NETWR WAERK CUST_NO CUST_NM ORD_DT ORD_QTY PROD_CD WHSE_NBR
LST_UPD_TS cust_nbr prdct_ctgry_nm qty_on_hnd acct_bal_amt ObjectId UUID GUID IBAN BIC SWIFT SSN VIN ISBN
ISBN13 isbn10 EAN ean13 GTIN upcA sku SKU1 asin rhythm rhythms syzygy strengths twelfths lengthsQuick jQuery
xkcd vlkPrst brzdCzw nginx nginxVersion mysqlPort postgresqlVersion kubectlContext rgbaBackgroundColor
hslHueDegrees cmykCyanPercent bytesPerSecond kbps mbps gbps kwh kWhTotal mAh mmHg kmh mph searchIndexes
textIndexVersion 2dsphereIndexVersion 2dsphere weightKg heightCm bmi bpm systolicMmHg spo2 spO2Percent vo2Max
vo2max hba1c hbA1c ldlC field1 field2 field10 col_a col_b column_1 column_27 attr1 attr_1 param1 value1 key1
key_1 option3 question12 answer_12a step1Result step_2_result lineItemsCount totalPriceInclVat isB2B isVIP
hasVATId GDPRConsent gdprConsentAt ABTestVariant abTestVariantB utm_source utm_medium utm_campaign gclid fbclid
firebaseUid cognitoSub auth0Id googleId facebookId appleId stripeCustomerId stripe_customer_id paypalPayerId
awsRegion gcpProject azureTenant next_retry_at_epoch_ms lockedUntilEpochMs attemptsLeft retryAfterSeconds
backoffFactor jitterPct deadLetterQueueUrl mongodbUri redisUrl database collection fieldPath
partialFilterExpression storageEngine wiredTiger maxTimeMS clusterTime
thisIsAVeryLongButStillHumanReadableFieldNameForAReportColumn
this_is_a_very_long_but_still_human_readable_field_name_for_it owner.name owner.address.0.geo.lat a.b.c.d.e
results.0.scores.1.value.2 matrix.0.1.2 metadata.labels.app metrics.cpu.p99 stats.2024.q1.total months.01.total
days.31 hours.23
""".split()

DATA = """
10.1.2.3 192.168.0.255 by.10.1.2.3.count 10.1.2.3:27017 fe80::1ff:fe23:4567:890a 2001:db8::1 [::1]
00:1A:2B:3C:4D:5E max@example.org by.max@example.org mailto:max@example.org +491701234567 +1-415-555-2671
(415)555-2671 0170-1234567 4111111111111111 DE89370400440532013000 GB82WEST12345698765432
FR1420041010050500013M02606 NL91ABNA0417164300 CH9300762011623852957 123e4567-e89b-12d3-a456-426614174000
123E4567E89B12D3A456426614174000 65a1b2c3d4e5f6a7b8c9d0e1 a1b2c3d4e5f6 0xdeadbeef0123
d41d8cd98f00b204e9800998ecf8427e da39a3ee5e6b4b0d3255bfef95601890afd80709 AKIAIOSFODNN7EXAMPLE
ASIAIOSFODNN7EXAMPL2 ghp_16C7e42F292c6912E7710c838347Ae178B4a glpat-9Xk2LmQp7RtVw3Yz8Abc
sk_live_4eC39HqLyjWDarjtT1zdp7dc xoxb-17653672481-19874698323 AIzaSyDaGmWKa4JsXZ-HjGw7ISLn_3namBGewQe
SG.ngeVfQFYQlKU0ufo8x5d1A eyJhbGciOiJIUzI1NiJ9 eyJzdWIiOiIxMjM0NTY3ODkwIn0 V1StGXR8_Z5jdHi6B-myT
Uakgb_J5m9g-0JDMbcJqL 01ARZ3NDEKTSV4RRFFQ69G5FAV 01HV8N5X2K7QZ3M9R4T6W8Y1BC 2Xk9Qw7Lm4Zp8Rt5Vb3Nc
q7Xv2Kp9Lm4Zt8Rw5Yb3 aB3dE5fG7hI9jK1lM3nO xKqPzWvBnMtRyLcHdGfJ qzxkvwpfjtmrblcdhgns QZXKVWPFJTMRBLCDHGNS
kJ8sLq2mNx5vBt9wRz4c h7k2m9p4q8r3s6t1v5w0 3l92eicz7fyk4renzu JBSWY3DPEHPK3PXP GEZDGNBVGY3TQOJQGEZDGNBV
5Kb8kLf9zgWQnogidDA76MzPL6TsZZY36hWXMssSzNydYXYB9KF bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdq
0x742d35Cc6634C0532925a3b844Bc454e4438f44e TJRabPrwbZy45sbavfcjinPJC18kjpRTv8 S3cr3t! hunter2! P4ssw0rd
Tr0ub4dor&3 correct;horse Sommer2024! abc$def1 p@ssw0rd qwerty!123 Passw0rd#1 l3tm31n N0mbr3S3cr3t0 pa55=word
2024-01-15 20240115 2024-01-15T10:30:00Z 1700000000 1700000000000 12345 -73.935242,40.730610 <script>
a'or'1'='1 ../etc?x=1 name=max https://example.org/max {"a":1} [max,anna] 50% a|b *** ~max max;anna `max` "max"
max? M24wUHrTyPz9eJ7xQvLc yJ5sVm8kQ2rT7wXz4bNd Zt6Hn3Kf9Wq2Lx8Rv5Pb dQw4w9WgXcQkR7zLmNpB 9hT4jK7mN2pQ5rS8vW3x
ehIk9y0kQwKHSg8mNp2D Tz4Kx9Qm2Lw7Rv5Nb8Pj sWq8Zk3Xn6Vt1Rm9Lb4Y mPq7-Zx2k-Lw9t-Rv4n 8fKj2LmN5pQr7sTv
wJ9xKq4mZt7nRv2p
""".split()


def test_there_are_enough_of_both() -> None:
    assert len(set(ORDINARY)) >= 300
    assert len(set(DATA)) >= 100


def test_an_ordinary_name_stays() -> None:
    assert [name for name in ORDINARY if mask_key(name) != name] == []
    shapes = {name: redact_command({"find": "c", "filter": {name: "x"}})["filter"] for name in ORDINARY}
    assert [name for name, shape in shapes.items() if shape != {name: "?str"}] == []


@pytest.mark.parametrize("name", DATA)
def test_a_name_that_is_data_is_masked(name: str) -> None:
    assert "?key" in mask_key(name)
    longest = max(name.split("."), key=len)
    shape = str(redact_command({"update": "c", "updates": [{"q": {"_id": 1}, "u": {"$set": {f"logins.{name}": 1}}}]}))
    assert longest not in shape


def test_only_the_part_that_is_data_is_masked() -> None:
    assert mask_key("by.q7Xv2Kp9Lm4Zt8Rw5Yb3.count") == "by.?key.count"
    assert mask_key("by.10.1.2.3.count") == "?key"
    assert mask_key("matrix.0.1.2.value") == "matrix.0.1.2.value"


def _drawn(letters: str, length: int) -> str:
    return "".join(random.choice(letters) for _ in range(length))


RANDOM: dict[str, tuple[Callable[[], str], float]] = {
    "20 letters and digits": (lambda: _drawn(string.ascii_letters + string.digits, 20), 0.95),
    "20 small letters and digits": (lambda: _drawn(string.ascii_lowercase + string.digits, 20), 0.9),
    "20 letters": (lambda: _drawn(string.ascii_letters, 20), 0.8),
    "20 small letters": (lambda: _drawn(string.ascii_lowercase, 20), 0.8),
    "22 of base64": (lambda: secrets.token_urlsafe(16), 0.95),
    "12 hexadecimal digits": (lambda: secrets.token_hex(6), 0.97),
    "UUID": (lambda: str(uuid.uuid4()), 1.0),
    "address": (lambda: ".".join(str(random.randrange(256)) for _ in range(4)), 1.0),
    "account": (lambda: "DE" + _drawn(string.digits, 20), 1.0),
}


@pytest.mark.parametrize("kind", RANDOM)
def test_of_what_is_drawn_nearly_all_is_masked(kind: str) -> None:
    """Some draws read like a name, and no rule could know."""
    make, share = RANDOM[kind]
    random.seed(7)
    assert sum("?key" in mask_key(make()) for _ in range(500)) / 500 >= share


def test_a_length_or_digits_alone_would_not_do() -> None:
    """The control: the usual rule masks names of people's, or lets data through."""
    longer = [name for name in ORDINARY if len(name) >= 20]
    digits = [name for name in ORDINARY if any(letter.isdigit() for letter in name)]
    assert len(longer) > 30
    assert len(digits) > 100
    assert sum(len(name) < 20 for name in DATA) > 30
