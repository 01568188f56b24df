"""The currencies of ISO 4217 (list one, as published on 2026-01-01) and the decimals of each: data.

An amount in this project is an integer of minor units, so the exponent matters only to people: 1250 is
12.50 USD, 1250 JPY and 1.250 KWD.
"""

from __future__ import annotations

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


def in_major_units(amount: int, currency: str) -> str:
    """`amount` minor units for people: `1,234.50 USD`. Exact, no floats; unknown codes stay minor."""
    exponent = EXPONENTS.get(currency)
    if exponent is None:
        return f"{amount:,} minor units of {currency}"
    sign, digits = ("-" if amount < 0 else ""), f"{abs(amount):0{exponent + 1}d}"
    whole, decimals = (digits[:-exponent], "." + digits[-exponent:]) if exponent else (digits, "")
    return f"{sign}{int(whole):,}{decimals} {currency}"
