"""What banks and gateways send, read as one: a reader a file, and the classes that hold their lines against our book.

Readers know no stack, no screen and no store: bytes come in, lines go out; what is wrong with a file is a `BadBook`.
"""
