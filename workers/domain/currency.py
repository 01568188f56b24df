"""The currencies of ISO 4217 (list one, as published on 2026-01-01) and the decimals of each: data.

An amount in this project is an integer of minor units, so the exponent matters only to people: 1250 is
12.50 USD, 1250 JPY and 1.250 KWD.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType

_BY_EXPONENT = {
    0: "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF",
    2: """
        AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BMD BND BOB BOV BRL BSD BTN BWP BYN BZD CAD CDF CHE
        CHF CHW CNY COP COU CRC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD
        HKD HNL HTG HUF IDR ILS INR IRR JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK
        MNT MOP MRU MUR MVR MWK MXN MXV MYR MZN NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD
        RUB SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TOP TRY TTD TWD TZS UAH
        USD USN UYU UZS VED VES WST XAD XCD XCG YER ZAR ZMW ZWG
    """,
    3: "BHD IQD JOD KWD LYD OMR TND",
    4: "CLF UYW",
}

EXPONENTS: Mapping[str, int] = MappingProxyType(
    {code: exponent for exponent, codes in _BY_EXPONENT.items() for code in codes.split()}
)
"""Code -> decimals of its minor unit, for every code that has one."""

WITHOUT_MINOR_UNIT = frozenset(
    {"XAG", "XAU", "XBA", "XBB", "XBC", "XBD", "XDR", "XPD", "XPT", "XSU", "XTS", "XUA", "XXX"}
)
"""In ISO 4217, but no payment can be made in them: metals, units of account, "testing" and "no currency"."""

_DECIMAL = re.compile(r"([-+]?)(\d{1,15})(?:\.(\d{1,18}))?", re.ASCII)
"""As ISO 20022 has amounts: at most 18 digits, and a point."""


def in_minor_units(text: str, currency: str) -> int:
    """The inverse of `in_major_units`, for decimal text as files have it: `12.50` of USD is 1250. Exact, no floats.

    Raises:
        ValueError: says what was found and what is allowed; it never holds the text, which may be an account.
    """
    exponent = EXPONENTS.get(currency)
    if exponent is None:
        raise ValueError("a currency without a minor unit in ISO 4217")
    found = _DECIMAL.fullmatch(text)
    if found is None:
        raise ValueError("no decimal number such as 1234.50")
    sign, whole, decimals = found[1], found[2], found[3] or ""
    if decimals[exponent:].strip("0"):
        raise ValueError(f"more decimals than the {exponent} of {currency}")
    minor = int(whole + decimals[:exponent].ljust(exponent, "0"))
    return -minor if sign == "-" else minor


def in_major_units(amount: int, currency: str) -> str:
    """`amount` minor units for people: `1,234.50 USD`. Exact, no floats; unknown codes stay minor."""
    exponent = EXPONENTS.get(currency)
    if exponent is None:
        return f"{amount:,} minor units of {currency}"
    sign, digits = ("-" if amount < 0 else ""), f"{abs(amount):0{exponent + 1}d}"
    whole, decimals = (digits[:-exponent], "." + digits[-exponent:]) if exponent else (digits, "")
    return f"{sign}{int(whole):,}{decimals} {currency}"
