"""Pairing: stations whose key nobody has given us ask to be let in, and a person says yes or no.

`requests.py` are the files that the forwarder's daemon and the command `clima stations` share,
`endpoint.py` is where stations ask, `consent.py` asks the person, `advertisement.py` lets
stations find us. Only the command writes a certificate: nothing that comes in at the endpoint can.
"""
