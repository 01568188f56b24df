"""Every interleaving of two workers, an operator and the gateway over one transaction, up to a bound: no seed.

A seed is weak where a fault needs one order of many. So this plays them all: the table of transitions and the order of
steps of `Confirmer` are the production's, unchanged, and between any two steps anybody else may do his next one.
"""
