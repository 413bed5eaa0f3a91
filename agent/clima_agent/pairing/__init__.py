"""Pairing: the station asks a forwarder to let it in, and a person compares six digits.

`client.py` speaks with the forwarder, `attempt.py` is what lasts until the person has answered,
`enrolment.py` goes through it with the person, `search.py` finds forwarders in the network. What
is agreed, and why it is safe, says `clima_core/pairing.py`.
"""
