"""The console: the desk as pages on 127.0.0.1, in the browser of the operator who started it and with his AWS identity.

`gate.py` decides who comes in, `queue.py` what is shown of what waits, `pages.py` answers, `serve.py` runs it all.
"""
