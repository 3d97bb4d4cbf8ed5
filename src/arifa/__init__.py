"""Arifa, a payment-notification hub.

It proves who is calling, commits the payment to its books, answers in the bank's own words and
tells the merchant's systems until they say OK. `from arifa import dialects` gives the banks' wire
formats without the server or the store, so nothing is imported here.
"""

__version__ = "0.1.0"
