"""`clima doctor`: looks at every link of the chain, and says what is wrong and how to mend it.

One module per check; each has a NAME and `look(site)`, which returns Findings and changes nothing
anywhere. What every check is given is in `site.py`; `examination.py` runs them.
"""
