"""The diagrams, as data: `make diagrams` draws them, `tests/program/test_diagrams.py` holds them to the program."""
