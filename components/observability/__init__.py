"""Who learns what, and when: one table for each alternative, of which the component makes alarms, pages and dashboard.

A row says what is measured, where it is drawn and when it raises an alarm; a page says which alarms get a person up.
The tables are components/<alternative>/observability.py, what they share is in shared.py.
"""
