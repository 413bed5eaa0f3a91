"""The demo: real processes, real keys, real sockets, on data that lies beside this module.

stage.py    the stations, and the configuration files of every part
play.py     starting the parts, and waiting for them
"""
